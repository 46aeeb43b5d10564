#!/usr/bin/env python3
"""Deaths and planned stops of real processes: who notices, how soon, and what happens next.

Election timeouts are set so long here that a leader within TIMEOUT can only mean that the guardian's
certificate, or the hand-over, did it.
"""
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, main  # noqa: E402
from msgpack_rpc import Client, RpcError  # noqa: E402

SLOW = "election_ms = { 4000, 6000 }, heartbeat_ms = 100,"
TIMEOUT = 2  # seconds, half of the shortest election timeout


def is_alive(pid):
    """Neither gone nor a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Deaths(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(BINARY, extra=SLOW)
        self.cluster.__enter__()
        self.leader = self.cluster.wait_leader(30)
        self.others = [x for x in self.cluster.nodes if x is not self.leader]

    def tearDown(self):
        self.cluster.__exit__(None, None, None)

    def test_a_killed_leader_is_replaced_long_before_any_timeout_and_comes_back(self):
        # Links of a young guardian may still be on their way up.
        wait_until(lambda: all(x.status() for x in self.cluster.nodes), 10, "all nodes answer")
        old = self.leader.kill()
        self.cluster.wait_leader(TIMEOUT, among=self.others)
        pid = wait_until(self.leader.node_pid, TIMEOUT, "the node is started again")
        self.assertNotEqual(pid, old)
        wait_until(lambda: (self.leader.status() or {}).get("role") == "follower", 10, "a follower")

    def test_a_node_dies_with_its_guardian(self):
        pid = self.leader.node_pid()
        os.kill(self.leader.guardian_pid(), signal.SIGKILL)
        self.leader.process.wait()
        wait_until(lambda: not is_alive(pid), 5, "the end of the node")


class Writer(threading.Thread):
    """Writes one value after the other until it is stopped, or the first error."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.stopping = node, threading.Event()
        self.error, self.written, self.slowest = None, 0, 0.0

    def run(self):
        client = Client(f"127.0.0.1:{self.node.client}", 20)
        try:
            while not self.stopping.is_set():
                begin = time.monotonic()
                client.call("propose", "kv", "set", {"key": "k", "value": self.written},
                            {"timeout_ms": 20000}, timeout=25)
                self.written += 1
                self.slowest = max(self.slowest, time.monotonic() - begin)
        except (OSError, RpcError) as e:
            self.error = e
        finally:
            client.close()

    def stop(self):
        self.stopping.set()
        self.join()


class PlannedStop(unittest.TestCase):
    def test_leadership_is_handed_over_and_clients_see_no_error(self):
        with Cluster(BINARY, extra=SLOW) as cluster:
            leader = cluster.wait_leader(30)
            others = [x for x in cluster.nodes if x is not leader]
            writer = Writer(others[0])
            writer.start()
            try:
                wait_until(lambda: writer.written > 20, 10, "writes before")
                self.assertEqual(leader.stop(), 0)
                cluster.wait_leader(TIMEOUT, among=others)
                after = writer.written
                wait_until(lambda: writer.written > after + 20, 10, "writes afterwards")
            finally:
                writer.stop()
            self.assertIsNone(writer.error)
            self.assertLess(writer.slowest, TIMEOUT)

    def test_all_stop_at_once_without_waiting_for_each_other(self):
        with Cluster(BINARY) as cluster:
            cluster.wait_leader()
            begin = time.monotonic()
            for x in cluster.nodes:
                x.process.terminate()
            self.assertEqual([x.process.wait(20) for x in cluster.nodes], [0, 0, 0])
            self.assertLess(time.monotonic() - begin, 5)


class SecondThoughts(unittest.TestCase):
    def test_a_second_sigterm_ends_it_at_once_and_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "app.lua")
            with open(path, "w") as f:
                f.write("""local mk = require "moonkeeper"
                    mk.on("shutdown", function() mk.log.info("held up") mk.task.sleep(60000) end)
                    mk.log.info("listening")""")
            with Cluster(BINARY, n=1, extra="stop_ms = 30000,",
                         apps=f'{{ name = "app", script = "{path}" }}') as cluster:
                node = cluster.nodes[0]

                def said(text):
                    with open(node.log) as f:
                        return text in f.read()
                wait_until(lambda: said("listening"), 10, "the script")
                node.process.terminate()
                wait_until(lambda: said("held up"), 10, "the hook")
                node.process.terminate()
                node.process.wait(10)
                self.assertTrue(said("stopping at once: asked a second time"))


class Systemd(unittest.TestCase):
    def test_systemd_is_told_after_the_main_chunks_ran_also_when_one_fails(self):
        folder = tempfile.mkdtemp(prefix="moonkeeper-")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(os.path.join(folder, "notify"))
        notify.settimeout(10)
        path = os.path.join(folder, "late.lua")
        with open(path, "w") as f:  # it takes a while: who does not wait for it asks too early
            f.write("for i = 1, 3000000 do end\nerror('no such luck')\n")
        os.environ["NOTIFY_SOCKET"] = os.path.join(folder, "notify")
        try:
            with Cluster(BINARY, n=1, apps=f'{{ name = "late", script = "{path}" }}') as cluster:
                self.assertEqual(notify.recv(100), b"READY=1")
                app, = cluster.nodes[0].status()["apps"]
                self.assertEqual((app["app"], app["state"]), ("late", "failed"))
                self.assertIn("late.lua:2: no such luck", app["error"])
        finally:
            del os.environ["NOTIFY_SOCKET"]
            notify.close()
            shutil.rmtree(folder)

    def test_systemd_is_told_when_it_is_ready_and_when_it_stops(self):
        folder = tempfile.mkdtemp(prefix="moonkeeper-")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(os.path.join(folder, "notify"))
        notify.settimeout(10)
        os.environ["NOTIFY_SOCKET"] = os.path.join(folder, "notify")
        try:
            with Cluster(BINARY, n=1) as cluster:
                self.assertEqual(notify.recv(100), b"READY=1")
                self.assertEqual(cluster.nodes[0].status()["id"], "n1")
                cluster.nodes[0].process.terminate()
                self.assertEqual(notify.recv(100), b"STOPPING=1")
                self.assertEqual(cluster.nodes[0].process.wait(20), 0)
        finally:
            del os.environ["NOTIFY_SOCKET"]
            notify.close()
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
