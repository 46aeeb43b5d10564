#!/usr/bin/env python3
"""A client that someone else wrote calls status and propose: what we speak is MessagePack-RPC."""
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster  # noqa: E402
from command import BINARY, failure, main  # noqa: E402

CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "foreign", "pynvim_client.py")


def python_with_pynvim():
    """Debian's package is for Debian's Python, which need not be the first one on the path."""
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import pynvim.msgpack_rpc"], stderr=subprocess.DEVNULL,
                          check=False).returncode == 0:
            return python
    return None


class ForeignClient(unittest.TestCase):
    def setUp(self):
        self.python = python_with_pynvim()
        if self.python is None:
            self.skipTest("there is no pynvim: apt-get install python3-pynvim")
        self.cluster = Cluster(BINARY)
        self.cluster.__enter__()
        self.cluster.wait_settled()

    def tearDown(self):
        self.cluster.__exit__(*failure(self))

    def test_it_reads_the_status_writes_and_understands_errors(self):
        for node in self.cluster.nodes:  # the leader, and followers that forward
            with self.subTest(node.name):
                self.conversation(node)

    def conversation(self, node):
        done = subprocess.run([self.python, CLIENT, str(node.client)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=20, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        got = json.loads(done.stdout)
        self.assertEqual(got["status"]["id"], node.name)
        self.assertEqual(got["status"]["leader"], self.cluster.leader().name)
        self.assertEqual(got["get"]["value"], [1, -2, 2.5, "ü", None])
        self.assertEqual(got["get"]["version"], got["set"]["version"])
        self.assertEqual(got["many"], sorted(set(got["many"])))
        self.assertEqual(got["unknown_method"]["code"], "not_found")
        self.assertIn("nosuch", got["unknown_machine"]["message"])
        self.assertEqual(got["after_notification"]["value"], 1)


if __name__ == "__main__":
    main()
