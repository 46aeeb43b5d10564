"""MessagePack and MessagePack-RPC in a hundred lines, for tests and benchmarks.

Written from the public specifications, apart from the C code, so that a test which uses it also tests
that what the node speaks is what the specifications say.
"""
import socket
import struct


def pack(v):
    if v is None:
        return b"\xc0"
    if v is True:
        return b"\xc3"
    if v is False:
        return b"\xc2"
    if isinstance(v, int):
        if 0 <= v < 128:
            return bytes([v])
        if -32 <= v < 0:
            return struct.pack("b", v)
        return struct.pack(">Bq", 0xD3, v) if v < 2**63 else struct.pack(">BQ", 0xCF, v)
    if isinstance(v, float):
        return struct.pack(">Bd", 0xCB, v)
    if isinstance(v, str):
        b = v.encode()
        return (bytes([0xA0 | len(b)]) if len(b) < 32 else struct.pack(">BI", 0xDB, len(b))) + b
    if isinstance(v, bytes):
        return struct.pack(">BI", 0xC6, len(v)) + v
    if isinstance(v, (list, tuple)):
        return struct.pack(">BI", 0xDD, len(v)) + b"".join(pack(x) for x in v)
    if isinstance(v, dict):
        body = b"".join(pack(k) + pack(x) for k, x in v.items())
        return struct.pack(">BI", 0xDF, len(v)) + body
    raise TypeError(f"cannot pack {type(v).__name__}")


class Incomplete(Exception):
    pass


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise Incomplete
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, fmt):
        return struct.unpack(">" + fmt, self.take(struct.calcsize(fmt)))[0]

    def array(self, n):
        return [self.value() for _ in range(n)]

    def map(self, n):
        return {self.value(): self.value() for _ in range(n)}

    def value(self):
        t = self.take(1)[0]
        if t < 0x80:
            return t
        if t >= 0xE0:
            return t - 256
        if t < 0x90:
            return self.map(t & 15)
        if t < 0xA0:
            return self.array(t & 15)
        if t < 0xC0:
            return self.take(t & 31).decode()
        fixed = {0xC0: None, 0xC2: False, 0xC3: True}
        if t in fixed:
            return fixed[t]
        numbers = {0xCA: "f", 0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q",
                   0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q"}
        if t in numbers:
            return self.number(numbers[t])
        sized = {0xC4: "B", 0xC5: "H", 0xC6: "I", 0xD9: "B", 0xDA: "H", 0xDB: "I",
                 0xDC: "H", 0xDD: "I", 0xDE: "H", 0xDF: "I"}
        if t not in sized:
            raise ValueError(f"type {t:#x} is not expected here")
        n = self.number(sized[t])
        if t <= 0xC6:
            return self.take(n)
        if t <= 0xDB:
            return self.take(n).decode()
        return self.array(n) if t <= 0xDD else self.map(n)


def unpack_first(data):
    """(value, bytes used); raises Incomplete."""
    r = _Reader(data)
    return r.value(), r.at


class RpcError(Exception):
    def __init__(self, error):
        self.code = error.get("code", "") if isinstance(error, dict) else str(error)
        self.message = error.get("message", "") if isinstance(error, dict) else str(error)
        super().__init__(f"{self.code}: {self.message}")


class Client:
    """One connection. Calls may be answered out of order; call() waits for its own."""

    def __init__(self, address, timeout=5.0):
        host, port = address.rsplit(":", 1)
        self.sock = socket.create_connection((host, int(port)), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.msgid = 0
        self.answers = {}

    def send(self, method, *params):
        self.msgid += 1
        self.sock.sendall(pack([0, self.msgid, method, list(params)]))
        return self.msgid

    def wait(self, msgid, timeout=5.0):
        self.sock.settimeout(timeout)
        while msgid not in self.answers:
            try:
                (kind, answered, error, result), used = unpack_first(self.buffer)
                self.buffer = self.buffer[used:]
                assert kind == 1
                self.answers[answered] = (error, result)
                continue
            except Incomplete:
                pass
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("the node closed the connection")
            self.buffer += data
        error, result = self.answers.pop(msgid)
        if error is not None:
            raise RpcError(error)
        return result

    def call(self, method, *params, timeout=5.0):
        return self.wait(self.send(method, *params), timeout)

    def close(self):
        self.sock.close()
