#!/usr/bin/env python3
"""What `moonkeeper test --real` leaves behind: nothing, unless a test failed; and never a process."""
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import wait_until  # noqa: E402
from command import BINARY, environment, main  # noqa: E402

HEAD = 'local t = require "moonkeeper.test"\n'
TEST = HEAD + """
t.it("a test", function(mode)
  local c <close> = t.cluster {{ n = 3, mode = mode }}
  c:start()
  c:wait_leader()
  {body}
end, {{ modes = {{ "real" }} }})
"""


def processes(folder):
    """Processes that were started with something in this folder: guardians and nodes of its clusters."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if folder.encode() in f.read() and int(pid) != os.getpid():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def parent(pid):
    with open(f"/proc/{pid}/stat") as f:
        return int(f.read().split(")")[1].split()[1])


class Runs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moonkeeper-")
        self.tmp = os.path.join(self.folder, "tmp")
        os.mkdir(self.tmp)

    def tearDown(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, body, *flags):
        path = os.path.join(self.folder, "test.lua")
        with open(path, "w") as f:
            f.write(TEST.format(body=body))
        return subprocess.Popen([BINARY, "test", path, "--real", *flags], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True,
                                env=environment({"TMPDIR": self.tmp}))

    def run_to_end(self, body, code, *flags):
        process = self.start(body, *flags)
        output, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, output)
        self.assertEqual(processes(self.tmp), [])
        return output

    def test_a_test_that_passes_leaves_nothing(self):
        self.run_to_end('t.ok(c:propose("kv", "set", { key = "a", value = 1 }))', 0)
        self.assertEqual(os.listdir(self.tmp), [])

    def test_a_test_that_fails_names_what_it_leaves_and_shows_the_nodes_logs(self):
        output = self.run_to_end('t.eq(c:leader():term(), "soon")', 1)
        named = re.search(r"left for looking at: (\S+)", output)
        self.assertIsNotNone(named, output)
        self.assertEqual(os.listdir(self.tmp), [os.path.basename(named.group(1))])
        self.assertTrue(os.path.exists(os.path.join(named.group(1), "n1", "identity")))
        self.assertIn('msg="this node leads"', output)

    def test_a_node_that_dies_by_itself_fails_the_test_whatever_it_is_doing(self):
        up = os.path.join(self.folder, "up")
        process = self.start(f'c:trace("{up}") c:run_until(function() return false end, 20000)')
        wait_until(lambda: os.path.exists(up), 20, "a leader")
        there = processes(self.tmp)
        nodes = [pid for pid in there if parent(pid) in there]
        self.assertEqual(len(nodes), 3)
        os.kill(nodes[0], signal.SIGKILL)
        output, _ = process.communicate(timeout=15)
        self.assertEqual(process.returncode, 1, output)
        self.assertIn("nobody had asked for that", output)
        self.assertEqual(processes(self.tmp), [])

    def test_patience_multiplies_what_a_test_waits(self):
        output = self.run_to_end("c:run_until(function() return false end, 150)", 1, "--patience", "3")
        self.assertIn("not within 450 ms", output)
        self.assertRegex(output, "run it again: .* --real --patience 3\n")

    def test_the_control_socket_is_for_its_user_alone(self):
        process = self.start("c:run_for(20000)")
        try:
            def socket():
                for cluster in os.listdir(self.tmp):
                    path = os.path.join(self.tmp, cluster, "n1", "control")
                    if os.path.exists(path):
                        return path
                return None
            mode = os.stat(wait_until(socket, 20, "a control socket")).st_mode
            self.assertTrue(stat.S_ISSOCK(mode))
            self.assertEqual(stat.S_IMODE(mode), 0o600)
        finally:
            process.kill()
            process.communicate()
        wait_until(lambda: processes(self.tmp) == [], 5, "no process is left")

    def test_no_process_outlives_a_runner_that_is_killed(self):
        process = self.start("c:run_for(20000)")
        wait_until(lambda: len(processes(self.tmp)) >= 6, 20, "three guardians and their nodes")
        process.kill()
        process.communicate()
        wait_until(lambda: processes(self.tmp) == [], 5, "no process is left")


if __name__ == "__main__":
    main()
