#!/usr/bin/env python3
"""Clients that misbehave without a wrong byte: slow, half gone, deaf, very many. The others do not notice.

garbage.py has the wrong bytes.
"""
import os
import socket
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, failure, main  # noqa: E402
from msgpack_rpc import Client, Incomplete, pack, unpack_first  # noqa: E402

CONNECTIONS = 200
CLIENTS_MAX = 300  # what the node is configured to take
BIG = 2000  # bytes of a value
# Of one client's answers: 1 MiB unsent, and those to 4096 requests that were under way; a buffer that has
# grown may be twice what is in it, and is copied when it grows.
HELD_MAX = 48 << 20
LARGE = 900_000
LARGE_HELD_MAX = 24 << 20  # 1 MiB and one answer, the copy it is made from, and what the allocator keeps
SLOW_ANSWER_MS = 500  # a bystander's calls must stay below, on a machine that has other work too


class Clients(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(BINARY, n=1, extra=f"limits = {{ clients = {CLIENTS_MAX} }},")
        self.cluster.__enter__()
        self.node = self.cluster.wait_leader()
        self.pid = self.node.node_pid()
        self.bystander = Client(f"127.0.0.1:{self.node.client}", 10)

    def tearDown(self):
        self.bystander.close()
        self.cluster.__exit__(*failure(self))

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.node.client), 10)

    def memory_kib(self):
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def unharmed(self, calls=20):
        """The same process, and it answers the bystander soon."""
        slowest = 0.0
        for i in range(calls):
            begin = time.monotonic()
            self.bystander.call("propose", "kv", "set", {"key": "bystander", "value": i}, {})
            slowest = max(slowest, (time.monotonic() - begin) * 1000)
        self.assertEqual(self.node.node_pid(), self.pid)
        self.assertLess(slowest, SLOW_ANSWER_MS)

    def answers(self, s, count):
        """Read so many answers; msgid -> (error, result)."""
        out, data = {}, b""
        while len(out) < count:
            try:
                (_, msgid, error, result), used = unpack_first(data)
                out[msgid], data = (error, result), data[used:]
            except Incomplete:
                more = s.recv(1 << 20)
                self.assertTrue(more, f"closed after {len(out)} of {count} answers")
                data += more
        return out

    def test_a_request_that_comes_byte_by_byte_is_answered(self):
        request = pack([0, 7, "propose", ["kv", "set", {"key": "slow", "value": 1}, {}]])
        with self.connect() as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i, byte in enumerate(request):
                s.sendall(bytes([byte]))
                if i % 16 == 0:
                    self.unharmed(1)
            self.assertIsNone(self.answers(s, 1)[7][0])

    def test_many_connections_are_all_served_at_once(self):
        clients = [Client(f"127.0.0.1:{self.node.client}", 10) for _ in range(CONNECTIONS)]
        waiting = [(c, c.send("propose", "kv", "set", {"key": f"many/{i}", "value": i}, {}))
                   for i, c in enumerate(clients)]
        for c, msgid in waiting:
            self.assertIn("version", c.wait(msgid, 20))
        self.unharmed()
        for c in clients:
            c.close()

    def test_connections_beyond_the_limit_are_closed_and_the_others_stay(self):
        crowd = [self.connect() for _ in range(CLIENTS_MAX + 50)]

        def closed(s):
            s.setblocking(False)
            try:
                return s.recv(1) == b""
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True

        gone = set()

        def enough():
            gone.update(i for i, s in enumerate(crowd) if i not in gone and closed(s))
            return len(gone) >= 50

        wait_until(enough, 10, "the surplus is closed")
        self.unharmed()
        for s in crowd:
            s.close()
        wait_until(self.node.status, 10, "room for others")

    def test_clients_that_vanish_with_requests_under_way(self):
        for i in range(CONNECTIONS):
            s = self.connect()
            s.sendall(b"".join(pack([0, j, "propose", ["kv", "set", {"key": f"v/{i}/{j}", "value": 1}, {}]])
                               for j in range(20)))
            if i % 2:  # half of them with a reset, in the face of answers
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        self.unharmed()

    def test_a_client_that_has_shut_its_sending_side_is_gone(self):
        """It cannot be told from one that has died: its connection is closed, answered or not."""
        with self.connect() as s:
            s.sendall(b"".join(pack([0, j, "propose", ["kv", "set", {"key": f"half/{j}", "value": j}, {}]])
                               for j in range(50)))
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        self.unharmed()

    def test_a_client_that_never_reads_is_not_read_either(self):
        """The node keeps a bounded part of the answers, and asks the disk, the log and the others no more
        than it would without this client. When the client reads at last, every answer is there."""
        self.bystander.call("propose", "kv", "set", {"key": "big", "value": "x" * BIG}, {})
        before = self.memory_kib()
        request = pack([0, 1, "query", ["kv", "get", {"key": "big"}, {"read": "local"}]])
        with self.connect() as s:
            asked = self.ask_until_nobody_listens(s, request * 1000) / len(request)
            self.assertGreater(asked * BIG, 2 * HELD_MAX, "too little to tell")
            self.unharmed()
            self.assertLess((self.memory_kib() - before) * 1024, HELD_MAX)
            whole = int(asked)
            answer = len(self.one_answer(request))
            left = whole * answer
            while left > 0:
                data = s.recv(min(left, 1 << 20))
                self.assertTrue(data, f"closed with {left} bytes to come")
                left -= len(data)
        self.unharmed()

    def test_thousands_of_large_answers_to_a_client_that_never_reads_take_little_memory(self):
        """The requests fit into the sockets; were their answers worked out at once, 3.6 GB would wait. The
        client reads at last, slowly at that, beyond the time limit of a query, and gets all it reads."""
        self.bystander.call("propose", "kv", "set", {"key": "large", "value": "x" * LARGE}, {})
        before = self.memory_kib()
        with self.connect() as s:
            s.sendall(b"".join(pack([0, i, "query", ["kv", "get", {"key": "large"}, {"timeout_ms": 1000}]])
                               for i in range(4000)))
            for _ in range(20):
                self.unharmed(5)
                self.assertLess((self.memory_kib() - before) * 1024, LARGE_HELD_MAX)
            time.sleep(1.2)  # so that the queries' time is over
            answers = self.answers(s, 60)
            self.assertEqual([e for e, _ in answers.values() if e is not None], [])
            self.assertLess((self.memory_kib() - before) * 1024, LARGE_HELD_MAX)
        self.unharmed()

    def ask_until_nobody_listens(self, s, requests):
        """Send until nothing has been taken for a while; the number of bytes that were."""
        s.setblocking(False)
        sent, last = 0, time.monotonic()
        while time.monotonic() - last < 0.3:
            try:
                sent += s.send(requests[sent % len(requests):])
                last = time.monotonic()
            except BlockingIOError:
                self.unharmed(1)
        s.settimeout(20)
        return sent

    def one_answer(self, request):
        with self.connect() as s:
            s.sendall(request)
            data = b""
            while True:
                data += s.recv(1 << 20)
                try:
                    return data[:unpack_first(data)[1]]
                except Incomplete:
                    pass


if __name__ == "__main__":
    main()
