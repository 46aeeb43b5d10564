#!/usr/bin/env python3
"""Garbage on any port: the connection is closed, the log is not flooded, the node is unharmed."""
import os
import random
import socket
import struct
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, main  # noqa: E402
from msgpack_rpc import Client  # noqa: E402

ROUNDS = 100
LINES_MAX = 20  # of the log, for all rounds on one port


def closes(port, data, seconds=10):
    """Send data; true once the other side has closed the connection."""
    with socket.create_connection(("127.0.0.1", port), seconds) as s:
        try:
            s.sendall(data)
            while s.recv(65536):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
        except socket.timeout:
            return False
    return True


class Garbage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BINARY, n=1)
        cls.cluster.__enter__()
        cls.node = cls.cluster.nodes[0]
        cls.cluster.wait_leader()
        cls.pid = cls.node.node_pid()
        cls.random = random.Random(7)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def log_lines(self):
        with open(self.node.log, "rb") as f:
            return f.read().count(b"\n")

    def memory_kib(self):
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def unharmed(self):
        """The same process, and it works."""
        self.assertEqual(self.node.node_pid(), self.pid)
        client = Client(f"127.0.0.1:{self.node.client}", 5)
        client.call("propose", "kv", "set", {"key": "a", "value": 1}, {}, timeout=5)
        client.close()

    def hostile(self, port):
        before = self.log_lines()
        for i in range(ROUNDS):
            data = bytes(self.random.randrange(256) for _ in range(1 + i * 7))
            if not closes(port, data + b"\xff" * 16, 10):
                self.fail(f"the connection stays open after {data[:20]!r}")
        self.assertLess(self.log_lines() - before, LINES_MAX)
        self.unharmed()

    def test_garbage_for_peers(self):
        self.hostile(self.node.peer)

    def test_garbage_for_clients(self):
        # The first byte says that it is no MessagePack-RPC: an array of 3 or 4 begins it.
        before = self.log_lines()
        for i in range(ROUNDS):
            data = bytes([self.random.choice([0x00, 0x47, 0xC0, 0xC1, 0xFF, 0x80, 0x92, 0x99])])
            data += bytes(self.random.randrange(256) for _ in range(i * 7))
            self.assertTrue(closes(self.node.client, data + b"\xff" * 16), data[:20])
        self.assertLess(self.log_lines() - before, LINES_MAX)
        self.unharmed()

    def test_garbage_for_people(self):
        before = self.log_lines()
        for i in range(ROUNDS):
            data = bytes(self.random.randrange(1, 256) for _ in range(1 + i * 7))
            self.assertTrue(closes(self.node.http, data + b"\r\n\r\n"), data[:20])
        self.assertLess(self.log_lines() - before, LINES_MAX)
        self.unharmed()

    def test_a_frame_that_declares_too_much_takes_no_memory(self):
        before = self.memory_kib()
        for _ in range(20):
            # A peer frame of 2 GiB; a request whose params declare 4 GiB; one of 2^32 elements.
            self.assertTrue(closes(self.node.peer, struct.pack(">I", 0x7FFFFFFF) + b"x" * 1000))
            head = b"\x94\x00\x01\xa7propose"
            self.assertTrue(closes(self.node.client, head + b"\x91\xc6\xff\xff\xff\xff" + b"x" * 1000))
            self.assertTrue(closes(self.node.client, head + b"\xdd\xff\xff\xff\xff" + b"\x01" * 1000))
        self.assertLess(self.memory_kib() - before, 4096)
        self.unharmed()

    def test_a_request_that_is_too_large_ends_its_connection_only(self):
        bystander = Client(f"127.0.0.1:{self.node.client}", 10)
        value = b"\xc6" + struct.pack(">I", 32 << 20) + bytes(32 << 20)
        self.assertTrue(closes(self.node.client, b"\x94\x00\x01\xa7propose\x91" + value))
        self.assertEqual(bystander.call("status", timeout=10)["id"], "n1")
        bystander.close()
        self.unharmed()

    def test_half_a_message_waits_and_hurts_nobody(self):
        half = [socket.create_connection(("127.0.0.1", self.node.client)) for _ in range(50)]
        for s in half:
            s.sendall(b"\x94\x00\x01\xa7prop")
        self.unharmed()
        for s in half:
            s.close()
        wait_until(lambda: self.node.status(), 5, "an answer")


if __name__ == "__main__":
    main()
