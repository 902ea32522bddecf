"""What is found in each frame, as a line of JSON for a script at the microscope: on stdout, or from a ZeroMQ socket."""

import json
import sys
from typing import Any, Protocol, TextIO

from stemdefects.errors import UserError
from stemdefects.needed import needed

LIVE = '"stemdefects[live]"'  # the extra that brings ZeroMQ
STDOUT, NONE, TCP = "stdout", "none", "tcp://"


class Publisher(Protocol):
    """Where lines go."""

    def send(self, line: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


class Nowhere:
    """Nobody asks."""

    def send(self, line: dict[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Lines:
    """A line of JSON for each frame on a stream."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def send(self, line: dict[str, Any]) -> None:
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """The stream is its owner's."""


class Socket:
    """A PUB socket of ZeroMQ: who listens gets the lines from then on, nobody is waited for."""

    def __init__(self, address: str):
        zmq = needed("zmq", f"live.publish={address}", LIVE)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise UserError(f"live.publish={address}: {error}; choose another port") from None

    def send(self, line: dict[str, Any]) -> None:
        self._socket.send_string(json.dumps(line))

    def close(self) -> None:
        self._socket.close(linger=1000)
        self._context.term()


def to(where: str) -> Publisher:
    """The publisher that `live.publish` names. Raises UserError for anything that is none."""
    if where == NONE:
        return Nowhere()
    if where == STDOUT:
        return Lines(sys.stdout)
    if where.startswith(TCP):
        return Socket(where)
    raise UserError(
        f"live.publish={where}: there are: {NONE}, {STDOUT}, {TCP}<address>:<port> (e.g. tcp://127.0.0.1:5556)"
    )
