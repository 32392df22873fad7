"""Goal: without a usable gpud, a program gets a fitting error and its user exactly one line that names
the server and what to do; nothing hangs.

Method: the probe runs with no server, a bad address, a port where nothing listens, a missing socket, a
server of another kind, one that hangs up, one of another version, and a busy one; each must give
CUDA_ERROR_NO_DEVICE or its kin at cuInit, the same for every later call, and one line on stderr.

usage: test_connection_errors.py BUILD_FOLDER PROGRAMS
"""

import socket
import struct
import sys
import tempfile
import threading

from testing import Build

MAGIC_BYTES = 8
PREAMBLE_BYTES = 32


class Impostor:
    """Listens on a port and answers each connection with `answer(bytes received)`, then hangs up."""

    def __init__(self, answer):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.server = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                received = b""
                while len(received) < PREAMBLE_BYTES:
                    part = connection.recv(4096)
                    if not part:
                        break
                    received += part
                try:
                    connection.sendall(self.answer(received))
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):
                        pass
                except OSError:
                    pass


def preamble(received, version=None, status=0):
    """A server's preamble: magic, version:u16, flags:u16, status:u32, 16 bytes reserved."""
    (theirs,) = struct.unpack_from("<H", received, MAGIC_BYTES)
    return received[:MAGIC_BYTES] + struct.pack("<HHI16x", version or theirs, 0, status)


def refused_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def check(build, name, server, words, not_words=()):
    environment = {} if server is None else {"FARWARP_SERVER": server}
    got, said = build.probe("version", "init", "count", "alloc", "init", **environment)
    lines = said.splitlines()
    assert len(lines) == 1, f"{name}: one line must be on stderr, there are: {lines}"
    for word in words:
        assert word in lines[0], f"{name}: \"{word}\" must be in: {lines[0]}"
    for word in not_words:
        assert word not in lines[0], f"{name}: \"{word}\" must not be in: {lines[0]}"
    assert lines[0].startswith("farwarp: ") and lines[0].endswith("."), lines[0]
    assert got["version"] == 13000, f"{name}: cuDriverGetVersion gave {got['version']}"
    assert got["init"] not in (0, 999), f"{name}: cuInit gave {got['init']}"
    assert got["count"] == got["alloc"] == got["init"], f"{name}: {got}"
    print(f"{name}: {got['init']}; {lines[0]}")
    return got["init"]


def main():
    build = Build(*sys.argv[1:3])
    no_device = 100
    assert check(build, "no server", None, ["FARWARP_SERVER", "farwarp run"]) == no_device
    check(build, "bad address", "nonsense", ["nonsense"])
    port = refused_port()
    check(build, "nothing listens", f"127.0.0.1:{port}", [str(port), "gpud"])
    with tempfile.TemporaryDirectory() as folder:
        check(build, "no socket", f"unix:{folder}/absent", [f"{folder}/absent", "gpud"])
    web = Impostor(lambda _: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    check(build, "a web server", web.server, [web.server, "HTTP/1.1 400"])
    silent = Impostor(lambda _: b"")
    check(build, "one that hangs up", silent.server, [silent.server])
    newer = Impostor(lambda received: preamble(received, version=7777, status=1))
    check(build, "another version", newer.server, [newer.server, "7777"])
    busy = Impostor(lambda received: preamble(received, status=2))
    check(build, "a busy gpud", busy.server, [busy.server])
    half = Impostor(lambda received: preamble(received))
    check(build, "one that dies after its preamble", half.server, [half.server])


main()
