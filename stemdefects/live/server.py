"""The page on this machine: what was found so far, renewed by itself (server-sent events of the standard library).

Only this machine can ask for it, and only by its own name: a page of the network that points a name of its own at this
machine is refused.
"""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from stemdefects.messages import LOG
from stemdefects.report import rendering
from stemdefects.report.frames import grey

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
NEXT_PORTS = 10  # tried after the one asked for; then any that is free
HEARTBEAT_S = 10.0  # so that a browser that has gone is noticed
FINISH = "/finish"


class Page:
    """A page that shows what it is given. finish: set when its reader says that no more frames come."""

    def __init__(self, port: int, title: str):
        self._html = rendering.filled("live.html.j2", title=title).encode()
        self._changed = threading.Condition()
        self._state, self._version, self._picture = b"{}", 0, b""
        self._image: np.ndarray | None = None
        self._open = True
        self.finish = threading.Event()
        self._server = _served(port, self)
        self.url = f"http://{HOST}:{self._server.server_address[1]}/"
        if port and self._server.server_address[1] != port:
            LOG.warning("live.port=%s is in use by another program; the page is at %s", port, self.url)
        threading.Thread(target=self._server.serve_forever, name="page", daemon=True).start()

    def show(self, state: dict[str, Any], image: np.ndarray | None = None) -> None:
        """Show `state` (plain values, see live.js) and, where given, another frame (H, W)."""
        with self._changed:
            if image is not None:
                self._image, self._picture = image, b""
            self._state = json.dumps(state).encode()
            self._version += 1
            self._changed.notify_all()

    def next(self, version: int) -> tuple[int, bytes] | None:
        """What is shown, once it is another version than `version` or after a while; None: there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version or not self._open, HEARTBEAT_S)
            if self._version != version:
                return self._version, self._state
            return (version, b"") if self._open else None

    def picture(self) -> bytes:
        """The frame as PNG, made when it is asked for."""
        from PIL import Image

        with self._changed:
            image, made = self._image, self._picture
        if made or image is None:
            return made
        out = io.BytesIO()
        Image.fromarray(grey(image)).save(out, "PNG", compress_level=1)
        with self._changed:
            if self._image is image:
                self._picture = out.getvalue()
        return out.getvalue()

    @property
    def html(self) -> bytes:
        return self._html

    def close(self) -> None:
        """End the page; browsers that show it keep what they show."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    page: Page

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""


def _served(port: int, page: Page) -> _Server:
    """A server on `port`, the next that is free, or any."""
    for one in [*range(port, min(port + NEXT_PORTS, 65536)), 0] if port else [0]:
        try:
            server = _Server((HOST, one), _Handler)
        except OSError:
            continue
        server.page = page
        return server
    raise OSError(f"no port of {HOST} is free")


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # the base class's name for it
        """Nothing: stdout is the results'."""

    def do_GET(self) -> None:
        page, path = self.server.page, self.path.split("?", 1)[0]
        if not self._is_ours():
            self.send_error(403)
        elif path == "/":
            self._answer("text/html; charset=utf-8", page.html)
        elif path == "/frame.png":
            picture = page.picture()
            self._answer("image/png", picture) if picture else self.send_error(404)
        elif path == "/state.json":
            found = page.next(-1)
            self._answer("application/json", b"{}" if found is None else found[1])
        elif path == "/events":
            self._events(page)
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        # a page of another origin cannot send this header without asking first
        if self.path != FINISH or not self._is_ours() or self.headers.get("X-Live") != "finish":
            self.send_error(403)
            return
        self.server.page.finish.set()
        self._answer("application/json", b"{}")

    def _is_ours(self) -> bool:
        return (self.headers.get("Host") or "").rsplit(":", 1)[0] in NAMES

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def _events(self, page: Page) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        version = -1
        try:
            while (found := page.next(version)) is not None:
                version, state = found
                self.wfile.write(b"data: " + state + b"\n\n" if state else b":\n\n")
                self.wfile.flush()
        except OSError:
            return
