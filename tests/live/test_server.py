"""The page: on this machine alone, at a port that is free, renewed by itself."""

import http.client
import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stemdefects.errors import UserError
from stemdefects.live import publish
from stemdefects.live.server import Page


@pytest.fixture
def page():
    made = Page(0, "a <watch>")
    yield made
    made.close()


def ask(page, path, method="GET", **headers):
    host, port = page.url.split("/")[2].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    return connection.getresponse()


def test_the_page_asks_nobody_else(page):
    answer = ask(page, "/")
    html = answer.read().decode()
    assert answer.status == 200 and "a &lt;watch&gt;" in html
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", html) and "@import" not in html
    assert [url for url in re.findall(r"https?://[^\s\"')]+", html) if "w3.org" not in url] == []


def test_events_bring_what_is_shown(page):
    page.show({"done": 1, "status": "at work"}, np.arange(12.0).reshape(3, 4))
    events = ask(page, "/events")
    assert json.loads(events.fp.readline()[6:])["done"] == 1
    events.fp.readline()
    page.show({"done": 2})
    assert json.loads(events.fp.readline()[6:])["done"] == 2
    assert json.loads(ask(page, "/state.json").read())["done"] == 2
    picture = ask(page, "/frame.png").read()
    assert picture.startswith(b"\x89PNG")


def test_a_browser_shows_what_comes_and_ends_the_watch(page, browser):
    """Nobody reloads: status, cards, curves and the frame follow; the button asks for the table."""
    seen = {
        "status": "at work",
        "done": 3,
        "frames": 3,
        "watch": "a folder",
        "latency_s": 0.9,
        "shape": [32, 48],
        "pixel_size_nm": 0.03,
        "calls": [{"kind": "V", "y_px": 10.0, "x_px": 20.0}],
        "looks": {"V": ["#CC79A7", "circle"]},
        "curves": {"V": "#CC79A7"},
        "points": [[k, {"V": [2.0, 1.0, 4.0]}] for k in range(3)],
        "cards": [["D of V", "7.5e-4 nm^2/s", "95%: 6.0e-4 to 9.0e-4"]],
        "sentence": "known to 20%: in 40 more frames",
        "said": ["frame 2 is left out"],
    }
    page.show(seen, np.arange(32.0 * 48).reshape(32, 48))
    tab, faults = browser.new_page(), []
    tab.on("pageerror", lambda fault: faults.append(str(fault)))
    tab.goto(page.url)
    tab.wait_for_function("document.getElementById('status').textContent.includes('3 of 3 frames of a folder')")
    tab.wait_for_function("document.getElementById('caption').textContent.includes('frame 2')")
    assert "7.5 × 10⁻⁴ nm²/s" in tab.inner_text("#cards") and "40 more frames" in tab.inner_text("#sentence")
    assert tab.locator("#curves polyline").count() == 1 and "left out" in tab.inner_text("#messages")
    pixel = "(() => {const c = document.getElementById('frame'); return [c.width, c.height]})()"
    assert tab.evaluate(pixel) == [640, 427]
    page.show(seen | {"done": 4, "frames": 4, "status": "waiting for frames"})
    tab.wait_for_function("document.getElementById('status').textContent.startsWith('waiting for frames: 4 of 4')")
    tab.click("#finish")
    assert page.finish.wait(10)
    page.show(seen | {"status": "done: 4 frames"})
    tab.wait_for_function("document.getElementById('finish').disabled")
    assert faults == []


def test_others_are_refused(page):
    assert ask(page, "/", Host="evil.example").status == 403
    assert ask(page, "/nothing").status == 404
    assert ask(page, "/finish", "POST").status == 403 and not page.finish.is_set()
    assert ask(page, "/finish", "POST", X_Live="finish").status == 200 and page.finish.is_set()


def test_a_port_in_use_is_said_and_another_taken(caplog):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        made = Page(port, "x")
        try:
            assert f":{port}/" not in made.url and ask(made, "/").status == 200
        finally:
            made.close()


def test_the_script_of_the_page_is_sound(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    script = Path(publish.__file__).parents[1] / "report" / "assets" / "live.js"
    done = subprocess.run(["node", "--check", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_where_lines_can_go(capsys):
    publish.to("stdout").send({"frame": 1})
    assert json.loads(capsys.readouterr().out) == {"frame": 1}
    publish.to("none").send({})
    with pytest.raises(UserError, match=r"live\.publish=socket: there are"):
        publish.to("socket")


def test_a_socket(tmp_path):
    zmq = pytest.importorskip("zmq")
    out = publish.to("tcp://127.0.0.1:53217")
    context = zmq.Context()
    ear = context.socket(zmq.SUB)
    ear.connect("tcp://127.0.0.1:53217")
    ear.subscribe("")
    ear.setsockopt(zmq.RCVTIMEO, 100)
    for _ in range(50):
        out.send({"frame": 7})
        try:
            assert json.loads(ear.recv_string()) == {"frame": 7}
            break
        except zmq.Again:
            continue
    else:
        pytest.fail("nothing was heard")
    ear.close(linger=0)
    context.term()
    out.close()
