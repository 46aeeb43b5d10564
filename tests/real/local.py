#!/usr/bin/env python3
"""moonkeeper dev and demo: a cluster in one terminal, that leaves nothing behind."""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import reserve_port, wait_until  # noqa: E402
from command import BINARY, environment, main, moonkeeper  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def free_base(nodes=3):
    """The first of the ports that dev takes: three for each node, ten apart."""
    while True:
        base = random.randrange(20000, 30000)
        try:
            for port in (base + 10 * i + j for i in range(nodes) for j in range(3)):
                reserve_port(port)
            return base
        except OSError:
            continue


class Dev(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moonkeeper-")
        self.out = os.path.join(self.folder, "out")
        self.process = None
        self.said_before = 0
        self.port = free_base()

    def tearDown(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, *args):
        with open(self.out, "wb") as f:
            self.process = subprocess.Popen([BINARY, "dev", "--port", str(self.port), *args],
                                            stdout=f, stderr=f, env=environment())

    def output(self):
        with open(self.out) as f:
            return f.read()

    def status(self):
        return moonkeeper("status", "-e", f"127.0.0.1:{self.port}", "-o", "simple")

    def data(self):
        return wait_until(lambda: re.search(r"data in (\S+)", self.output()), 10, "a name")[1]

    def test_a_cluster_leads_and_ctrl_c_leaves_nothing(self):
        self.start("--nodes", "3")
        folder = self.data()
        wait_until(lambda: self.status().stdout.count("follower") == 2 and
                   self.status().returncode == 0, 20, "a leader and two followers")
        children = self.children()
        self.assertEqual(len(children), 3)
        self.said_before = len(self.output())
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(self.process.wait(20), 0)
        self.assertFalse(os.path.exists(folder))
        for pid in children:
            self.assertFalse(os.path.exists(f"/proc/{pid}"))
        self.ended_quietly(3)

    def ended_quietly(self, nodes):
        """Nobody misses anybody when all are stopped. (On a busy machine they may before that.)"""
        output = self.output()[self.said_before:]
        self.assertEqual(output.count(" stopped\n"), nodes, output)
        self.assertNotIn(" warn ", output)
        self.assertNotIn(" error ", output)
        self.assertNotIn("quorum_lost", output)

    def test_work_of_the_leader_ends_quietly_too(self):
        script = os.path.join(self.folder, "work.lua")
        with open(script, "w") as f:
            f.write("""local mk = require "moonkeeper"
                mk.while_leader("count", function(lead)
                  while true do
                    mk.kv.set("count", (mk.kv.get("count") or 0) + 1, { fence = lead.token })
                  end
                end)""")
        self.start(script)
        self.data()
        there = ["-e", f"127.0.0.1:{self.port}"]
        wait_until(lambda: moonkeeper("kv", "get", "count", *there).returncode == 0, 20, "work")
        begin = time.monotonic()
        self.said_before = len(self.output())
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(self.process.wait(20), 0)
        self.assertLess(time.monotonic() - begin, 1.5)  # less than what a node waits for its hooks
        self.ended_quietly(3)

    def test_a_configuration_says_all_but_where_the_nodes_are(self):
        script = os.path.join(self.folder, "beside.lua")
        with open(script, "w") as f:
            f.write("local mk = require 'moonkeeper' mk.log.info('beside')")
        config = os.path.join(self.folder, "node.lua")
        with open(config, "w") as f:
            f.write("""return { cluster = "x", id = "a", members = { { id = "a", peer = "10.0.0.1:1" } },
                data_dir = "/nowhere", http = false, heartbeat_ms = 17, election_ms = { 150, 300 },
                apps = { { script = "bundled:demo" } } }""")
        self.start("-c", config, script)
        self.data()
        wait_until(lambda: self.status().stdout.count("follower") == 2, 20, "three nodes")

        def apps():
            status = moonkeeper("status", "-e", f"127.0.0.1:{self.port}", "-o", "json").stdout
            return [app["app"] for app in json.loads(status)["nodes"][0]["apps"]]
        wait_until(lambda: apps() == ["demo", "beside"], 20, "both applications")
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(self.process.wait(20), 0)

    def test_a_configuration_with_a_mistake_is_told_at_once(self):
        config = os.path.join(self.folder, "node.lua")
        with open(config, "w") as f:
            f.write("""return { cluster = "x", id = "a", members = { { id = "a", peer = "10.0.0.1:1" } },
                apps = { { script = "bundled:dmeo" } } }""")
        done = moonkeeper("dev", "-c", config)
        self.assertEqual(done.returncode, 2)
        self.assertIn("""apps[1].script: there is no bundled script "dmeo"; did you mean "bundled:demo"?""",
                      done.stderr)

    def leaves_nothing(self, *signals):
        self.start()
        folder = self.data()
        wait_until(lambda: self.status().returncode == 0, 20, "a leader")
        for number in signals:
            self.process.send_signal(number)
        self.process.wait(20)
        self.assertFalse(os.path.exists(folder))

    def test_a_second_ctrl_c_ends_at_once_and_leaves_nothing(self):
        self.leaves_nothing(signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGINT)

    def test_a_closed_terminal_leaves_nothing(self):
        self.leaves_nothing(signal.SIGHUP)

    def test_sigterm_leaves_nothing(self):
        self.leaves_nothing(signal.SIGTERM)

    def test_a_reader_that_leaves_ends_it_even_if_nothing_is_said(self):
        self.process = subprocess.Popen([BINARY, "dev", "--port", str(self.port), "--log-level", "error"],
                                        stdout=subprocess.PIPE, env=environment(), text=True)
        folder = re.search(r"data in (\S+)", self.process.stdout.readline())[1]
        wait_until(lambda: self.status().returncode == 0, 20, "a leader")
        self.process.stdout.close()
        self.process.wait(20)
        self.assertFalse(os.path.exists(folder))

    def children(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return f.read().split()

    def test_a_machine_that_dies_is_missed_and_comes_back(self):
        self.start()
        there = ["-e", ",".join(f"127.0.0.1:{self.port + 10 * i}" for i in range(3))]

        def names_all():
            return moonkeeper("status", *there, "-o", "simple").stdout.count("follower") == 2
        wait_until(names_all, 20, "three nodes")
        self.assertEqual(moonkeeper("kv", "put", "k", "v", *there).returncode, 0)
        guardian = self.children()[0]
        with open(f"/proc/{guardian}/task/{guardian}/children") as f:
            node = f.read().split()[0]
        os.kill(int(guardian), signal.SIGKILL)
        try:
            os.kill(int(node), signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has missed its guardian
        wait_until(lambda: "killed, guardian and all" in self.output(), 20, "word of it")
        got = moonkeeper("kv", "get", "k", *there)
        self.assertEqual(got.stdout, "v\n", got.stderr + self.output())
        wait_until(names_all, 20, "three nodes again")
        wait_until(lambda: len(self.children()) == 3, 20, "the guardian among them")
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(self.process.wait(20), 0, self.output())

    def test_nodes_do_not_outlive_the_terminal(self):
        self.start("--nodes", "1")
        folder = self.data()
        wait_until(lambda: self.status().returncode == 0, 20, "a leader")
        children = self.children()
        self.process.kill()
        self.process.wait()
        for pid in children:
            wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 20, "the end of the node")
        shutil.rmtree(folder)

    def test_data_is_kept_where_it_was_asked_to(self):
        data = os.path.join(self.folder, "kept")
        there = ["-e", f"127.0.0.1:{self.port}"]
        for first in (True, False):
            self.start("--nodes", "1", "--data-dir", data)
            wait_until(lambda: self.status().returncode == 0, 20, "a leader")
            if first:
                self.assertEqual(moonkeeper("kv", "put", "k", "v", *there).returncode, 0)
            else:
                self.assertEqual(moonkeeper("kv", "get", "k", *there).stdout, "v\n")
            self.process.send_signal(signal.SIGTERM)
            self.assertEqual(self.process.wait(20), 0)
        self.assertTrue(os.path.exists(os.path.join(data, "n1")))

    def test_a_broken_script_is_told_and_all_end(self):
        script = os.path.join(self.folder, "broken.lua")
        with open(script, "w") as f:
            f.write("local = 1\n")
        self.start(script)
        self.assertEqual(self.process.wait(20), 1)
        self.assertIn("broken.lua:1:", self.output())


class Bench(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moonkeeper-")
        self.addCleanup(shutil.rmtree, self.folder)

    def test_throughput_latency_and_failover_are_measured(self):
        done = moonkeeper("bench", "--for", "400ms", "--port", str(free_base()), "-o", "json",
                          timeout=120, env={"TMPDIR": self.folder})
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        for load in ("many_clients", "one_client"):
            self.assertGreater(result[load]["writes_per_s"], 0)
            self.assertLessEqual(result[load]["p50_ms"], result[load]["p99_ms"])
            self.assertEqual(result[load]["errors"], 0)
        self.assertGreater(result["failover_ms_median"], 0)
        self.assertEqual(os.listdir(self.folder), [])

    def test_ctrl_c_ends_it_and_leaves_nothing(self):
        process = subprocess.Popen([BINARY, "bench", "--for", "1h", "--port", str(free_base())],
                                   stderr=subprocess.PIPE, text=True, env=environment({"TMPDIR": self.folder}))
        while "takes" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        self.assertIn("interrupted", process.stderr.read())
        process.stderr.close()
        self.assertEqual(process.wait(20), 1)
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_cluster_that_is_not_there(self):
        self.assertEqual(moonkeeper("bench", "-e", f"127.0.0.1:{free_base()}").returncode, 4)


class Demo(unittest.TestCase):
    def test_every_step_of_the_demo_happens(self):
        done = moonkeeper("demo", "--port", str(free_base()), timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for part in ("leads, and the first write is committed", "granted its vote",
                     "hook leader_elected", "$ moonkeeper status", "kill -9",
                     "the next write was committed", "is back as a follower",
                     "Everything happened as told"):
            self.assertIn(part, done.stdout)

    def test_a_demo_that_is_interrupted_does_not_say_that_all_happened(self):
        process = subprocess.Popen([BINARY, "demo", "--port", str(free_base())], env=environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        shown = ""
        while "leads, and the first write is committed" not in shown:
            line = process.stdout.readline()
            self.assertNotEqual(line, "", shown)
            shown += line
        process.send_signal(signal.SIGINT)
        shown = process.stdout.read()
        process.stdout.close()
        self.assertEqual(process.wait(20), 1, shown)
        self.assertIn("Interrupted before the end", shown)
        self.assertNotIn("Everything happened", shown)


if __name__ == "__main__":
    main()
