# SPDX-License-Identifier: Apache-2.0
"""Process 0 at the coordinator's address, before JAX's own service is there: whether the others reach it.

A caller sends its note and hears process 0's nonce, so that it knows whom it reached, and the verdict, if
there is one: that also reaches a host whose workdir is another folder.
"""

import contextlib
import ipaddress
import json
import socket
import socketserver
import threading
from typing import Any

from ssl_jax.parallel.notes import Note
from ssl_jax.types import UserError

LONGEST = 1 << 20  # bytes of a note


class Door:
    """Listens on a port until close().  Raises UserError where the port is taken.

    notes: of the callers, by process; verdict: what callers are told from now on.
    """

    def __init__(self, port: int, nonce: str):
        self._callers: dict[int, Note] = {}
        self.verdict: Any = None
        self.nonce = nonce
        door = self

        class Answer(socketserver.StreamRequestHandler):
            timeout = 5

            def handle(self):
                with contextlib.suppress(OSError, ValueError, TypeError):
                    note = Note(**json.loads(self.rfile.readline(LONGEST)))
                    door._callers[note.process] = note
                    self.wfile.write(json.dumps({"nonce": door.nonce, "verdict": door.verdict}).encode())

        self._server = socketserver.ThreadingTCPServer(("", port), Answer, bind_and_activate=False)
        self._server.socket.close()
        self._server.daemon_threads = True
        try:
            self._server.socket = _listen(port)
        except OSError as error:
            raise UserError(
                f"process 0 cannot listen on port {port} ({error.strerror}): is there another process 0? "
                "Otherwise name another port in --coordinator"
            ) from None
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def notes(self) -> dict[int, Note]:
        return dict(self._callers)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # a kernel without IPv6; a port that is taken is said below
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def call(coordinator: str, note: Any, seconds: float = 2.0) -> Any:
    """What process 0 answers at host:port.  Raises OSError or ValueError where nobody of ours does."""
    with socket.create_connection(split(coordinator), timeout=seconds) as line:
        line.sendall(json.dumps(note).encode() + b"\n")
        with line.makefile("rb") as answer:
            return json.loads(answer.readline(LONGEST))


def split(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    return host.strip("[]"), int(port)


def trouble(coordinator: str, error: Exception) -> str:
    """Why a call failed, for people; says so where the address means the caller's own host."""
    host, port = split(coordinator)
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        return f"{host} is no host that it knows"
    if all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found):
        return f"{host} is its own loopback address ({min(found)})"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
