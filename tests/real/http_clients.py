#!/usr/bin/env python3
"""HTTP clients that misbehave: that never read, never finish a request, are very many. The node does not
grow, and answers the others."""
import http.client
import os
import socket
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, failure, main  # noqa: E402

CONNECTIONS_MAX = 512  # src/net/http_server.h
LARGE = 900_000
HELD_MAX_KIB = 96 << 10  # 32 MiB of either kind, one answer with its copies, what the allocator keeps
PATIENCE = 20


class HttpClients(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(BINARY, n=1)
        self.cluster.__enter__()
        self.node = self.cluster.wait_leader()
        self.pid = self.node.node_pid()
        self.sockets = []
        self.assertEqual(self.ask("PUT", "/kv/large", "x" * LARGE), 200)
        self.before = self.memory_kib()

    def tearDown(self):
        for s in self.sockets:
            s.close()
        self.cluster.__exit__(*failure(self))

    def memory_kib(self):
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def peak_kib(self):
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.node.http, timeout=PATIENCE)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def connect(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # before: what is not read stays there
        s.settimeout(PATIENCE)
        s.connect(("127.0.0.1", self.node.http))
        self.sockets.append(s)
        return s

    def push(self, s, data):
        """As much of it as the node takes."""
        s.setblocking(False)
        sent = 0
        try:
            while sent < len(data):
                sent += s.send(data[sent:])
        except (BlockingIOError, ConnectionError):
            pass
        return sent

    def open_connections(self):
        """Of the node's side, as the kernel has them."""
        with open("/proc/net/tcp") as f:
            port = f":{self.node.http:04X}"
            return sum(x.split()[1].endswith(port) and x.split()[3] == "01" for x in f)

    def unharmed(self):
        self.assertEqual(self.ask("GET", "/livez"), 200)
        self.assertEqual(self.node.node_pid(), self.pid)
        grown = self.peak_kib() - self.before
        print(f"  grew by {grown >> 10} MiB at most", file=sys.stderr)
        self.assertLess(grown, HELD_MAX_KIB)

    def test_one_that_asks_and_asks_and_never_reads(self):
        s = self.connect()
        requests = b"GET /kv/large HTTP/1.1\r\nHost: x\r\n\r\n" * 20000
        end = time.monotonic() + 3
        while time.monotonic() < end:
            self.push(s, requests)
            self.assertEqual(self.ask("GET", "/livez"), 200)
        self.unharmed()

    def test_many_that_do_not_read_their_large_answers(self):
        for _ in range(150):  # 128 MiB
            self.push(self.connect(), b"GET /kv/large HTTP/1.1\r\nHost: x\r\n\r\n")
        # Who reads gets the same, whole; the others' answers take their time to make.
        wait_until(lambda: self.ask("GET", "/kv/large") == 200, 60, "an answer")
        self.unharmed()

    def test_many_that_send_most_of_a_large_request(self):
        head = b"PUT /kv/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n"
        waiting = [(self.connect(), memoryview(head + b"x" * 3_900_000)) for _ in range(80)]
        end = time.monotonic() + PATIENCE
        while waiting and time.monotonic() < end:
            still = []
            for s, left in waiting:
                s.setblocking(False)
                try:
                    left = left[s.send(left):]
                    if left:
                        still.append((s, left))
                except BlockingIOError:
                    still.append((s, left))
                except ConnectionError:
                    pass  # it was ended
            waiting = still
        self.assertEqual(self.ask("PUT", "/kv/whole", "x" * LARGE), 200)
        self.unharmed()

    def test_more_than_there_is_room_for_that_say_half_a_word(self):
        for i in range(CONNECTIONS_MAX + 200):
            self.push(self.connect(), b"GET /livez HTT")
            if i % 50 == 0:  # there is room for who asks properly, all the time
                self.assertEqual(self.ask("GET", "/livez"), 200)
        wait_until(lambda: self.open_connections() <= CONNECTIONS_MAX, PATIENCE, "the others to go")
        self.assertGreater(self.open_connections(), CONNECTIONS_MAX // 2)
        self.unharmed()


if __name__ == "__main__":
    main()
