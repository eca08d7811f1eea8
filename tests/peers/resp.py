"""A client of the Redis protocol of the suites' own: it sends what it is told to, good or not.

It adds nothing, hides nothing and repeats nothing, which a real client does. Real clients have a
suite of their own.
"""

import socket

LIMIT = 60.0
"""How long an answer may take, in seconds."""


class Wrong(Exception):
    """An error that was answered: its words."""


class Push(list):
    """Something said that nobody asked for."""


def request(*words):
    """The bytes of one request."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Resp:
    """One connection."""

    def __init__(self, place, timeout=LIMIT, receive_buffer=None):
        """To a port of this machine, or to a Unix socket by its path."""
        kind = socket.AF_INET if isinstance(place, int) else socket.AF_UNIX
        self.socket = socket.socket(kind)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", place) if isinstance(place, int) else place)
        if kind == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bytes = bytearray()

    def send(self, *words):
        """Sends one request."""
        self.socket.sendall(request(*words))

    def call(self, *words):
        """Sends one request and gives its answer; an error is raised."""
        self.send(*words)
        return self.answer()

    def many(self, requests):
        """Sends all of them at once and gives their answers, errors among them."""
        self.socket.sendall(b"".join(request(*words) for words in requests))
        return [self.answer(raises=False) for _ in requests]

    def answer(self, raises=True):
        """The next answer."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            if raises:
                raise Wrong(rest.decode())
            return Wrong(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b",":
            return float(rest)
        if kind == b"_" or line in (b"$-1", b"*-1"):
            return None
        if kind == b"#":
            return rest == b"t"
        if kind in b"$=":
            return self._take(int(rest) + 2)[:-2]
        if kind in b"*~":
            return [self.answer(raises=False) for _ in range(int(rest))]
        if kind == b">":
            return Push(self.answer(raises=False) for _ in range(int(rest)))
        if kind == b"%":
            return {self._key(): self.answer(raises=False) for _ in range(int(rest))}
        raise AssertionError(f"no answer begins with {line!r}")

    def ends(self):
        """Whether the server hangs up; what it says before is thrown away."""
        try:
            while self.socket.recv(1 << 16):
                pass
            return True
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def close(self):
        """Hangs up."""
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _key(self):
        key = self.answer()
        return key.decode() if isinstance(key, (bytes, bytearray)) else key

    def _line(self):
        end = self.bytes.find(b"\r\n")
        while end < 0:
            self._more()
            end = self.bytes.find(b"\r\n")
        line = bytes(self.bytes[:end])
        del self.bytes[: end + 2]
        return line

    def _take(self, length):
        while len(self.bytes) < length:
            self._more()
        taken = bytes(self.bytes[:length])
        del self.bytes[:length]
        return taken

    def _more(self):
        more = self.socket.recv(1 << 18)
        if not more:
            raise ConnectionError("the server has hung up")
        self.bytes += more
