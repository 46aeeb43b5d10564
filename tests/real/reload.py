#!/usr/bin/env python3
"""Scripts loaded anew in a node that goes on: by SIGHUP to the guardian, to the node, and by `moonkeeper reload`;
what fails leaves the old generation, and the work of a leader never overlaps."""
import json
import os
import signal
import sys
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, main, moonkeeper  # noqa: E402
from msgpack_rpc import Client  # noqa: E402

SCRIPT = """
local mk = require "moonkeeper"
mk.log.info("this is GEN", { generation = mk.info().generation, saved = mk.saved })
mk.on_reload(function() return "from GEN" end)
mk.on("commit", function(ev)
  if ev.cmd == "set" then mk.log.info("told", { key = ev.args.key }) end
end, { name = "audit" })
"""

# Its program holds a file for as long as it runs: two at once would both be in the log.
WORKER = """
local mk = require "moonkeeper"
mk.while_leader("worker", function(lead)
  local p = assert(mk.exec.spawn({ "sh", "-c", [[
    trap 'sleep 0.3; echo end GEN >> FILE; exit' TERM; echo begin GEN >> FILE; while :; do sleep 0.05; done]] },
    { stop_signal = "TERM", stop_ms = 5000 }))
  p:wait()
end, { grace_ms = 5000 })
"""


# The same of a program that belongs to the application itself, not to a task.
LASTING = """
local mk = require "moonkeeper"
local p = assert(mk.exec.spawn({ "sh", "-c", [[
  trap 'sleep 0.3; echo end GEN >> FILE; exit' TERM; echo begin GEN >> FILE; while :; do sleep 0.05; done]] }))
"""


class Reload(unittest.TestCase):
    def start(self, text, n=1):
        self.cluster = Cluster(BINARY, n=n)
        self.addCleanup(self.cluster.__exit__, None, None, None)
        self.script = os.path.join(self.cluster.folder, "app.lua")
        self.write(text)
        tree = os.path.join(self.cluster.folder, "tree")
        self.cluster.set_apps(f'{{ name = "app", script = "{self.script}", lua_path = "{tree}/?.lua" }}')
        self.cluster.__enter__()
        return self.cluster.wait_leader()

    def write(self, text):
        with open(self.script, "w") as f:
            f.write(text)

    def write_part(self, text, folder="app"):
        """The module app.part of the script; in another folder than "app" the module part of that."""
        os.makedirs(os.path.join(self.cluster.folder, folder), exist_ok=True)
        with open(os.path.join(self.cluster.folder, folder, "part.lua"), "w") as f:
            f.write(text)

    def log(self, node):
        with open(node.log) as f:
            return f.read()

    def wait_log(self, node, text):
        wait_until(lambda: text in self.log(node), 10, text)

    def cli(self, node, *args):
        return moonkeeper(*args, "-e", f"127.0.0.1:{node.client}")

    def ready(self, node):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{node.http}/readyz") as r:
                return r.status
        except urllib.error.HTTPError as e:
            return e.code

    def test_a_signal_to_the_guardian_or_the_node_loads_scripts_anew(self):
        node = self.start(SCRIPT.replace("GEN", "one"))
        self.wait_log(node, "this is one")
        pid = node.node_pid()
        self.write(SCRIPT.replace("GEN", "two"))
        os.kill(node.guardian_pid(), signal.SIGHUP)
        self.wait_log(node, "this is two")
        self.assertIn('generation=2 saved="from one"', self.log(node))
        self.wait_log(node, "application loaded")
        self.write(SCRIPT.replace("GEN", "three"))
        os.kill(pid, signal.SIGHUP)
        self.wait_log(node, "generation=3 saved=\"from two\"")
        self.assertEqual(node.node_pid(), pid)

    def test_modules_are_found_on_the_lua_path_of_the_configuration(self):
        node = self.start('local _, why = pcall(require, "part") require("moonkeeper").log.info(why)\n')
        # The script's own folder comes first.
        self.wait_log(node, "no file '" + self.cluster.folder + "/part/init.lua'")
        self.assertIn(f"no file '{self.cluster.folder}/tree/part.lua'", self.log(node))
        self.write_part('return "a tree of modules"', "tree")
        self.write('require("moonkeeper").log.info("found: " .. require "part")\n')
        for generation in (2, 3):
            self.assertIn("reloaded", self.cli(node, "reload").stdout)
            wait_until(lambda: self.log(node).count("found: a tree of modules") == generation - 1, 10, "the module")

    def test_reload_says_what_became_of_each_application(self):
        node = self.start(SCRIPT.replace("GEN", "one"))
        done = self.cli(node, "reload")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"(?m)^app +reloaded +2$")
        self.cluster.extra = "heartbeat_ms = 40,"
        self.cluster.set_apps(f'{{ name = "other", script = "{self.script}" }}')
        done = self.cli(node, "reload", "-o", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual([(x["app"], x["outcome"], x["generation"]) for x in answer["apps"]],
                         [("other", "started", 1), ("app", "ended", 0)])
        self.assertEqual(answer["restart"], ["heartbeat_ms"])
        self.assertIn("takes effect when the node is restarted", self.log(node))

    def test_modules_are_loaded_anew_too_and_named_in_what_is_told(self):
        node = self.start("require('moonkeeper').log.info('no part yet')")
        self.wait_log(node, "no part yet")
        self.write("require('moonkeeper').log.info('part ' .. require 'app.part')")
        self.write_part("return 'one'")
        self.assertEqual(self.cli(node, "reload").returncode, 0)
        self.wait_log(node, "part one")
        self.write_part("return 'two'")
        self.assertEqual(self.cli(node, "reload").returncode, 0)
        self.wait_log(node, "part two")
        self.write_part("local x = 1\nreturn x.y.z\n")
        done = self.cli(node, "reload")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r'"app": \S*app/part.lua:2: attempt to index .*; generation 3 goes on')

    def test_what_fails_leaves_the_old_one_and_is_told_everywhere(self):
        node = self.start(SCRIPT.replace("GEN", "one"))
        self.write("local mk = require 'moonkeeper'\nlocal x = nil + 1\n")
        done = self.cli(node, "reload")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"(?m)^app +failed +1$")
        self.assertRegex(done.stderr, r'application "app": \S*app.lua:2: attempt to perform .*; generation 1 goes on')
        self.assertRegex(self.log(node), r"where=reload err=.*app.lua:2: attempt .*generation 1 goes on")
        self.assertEqual(self.ready(node), 200)
        status = self.cli(node, "status").stdout
        self.assertRegex(status, r'n1: application "app" was not reloaded, generation 1 goes on: \S*app.lua:2:')
        self.assertEqual(self.cli(node, "kv", "put", "k1", "v").returncode, 0)
        self.wait_log(node, "key=k1")
        with open(node.config, "a") as f:
            f.write("}")
        done = self.cli(node, "reload")
        self.assertEqual(done.returncode, 1)
        self.assertIn("n1.lua", done.stderr)

    def test_a_node_that_is_started_again_takes_part_without_a_broken_script(self):
        node = self.start(SCRIPT.replace("GEN", "one"))
        self.write("local = 1")
        before = node.node_pid()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: node.node_pid() not in (None, before) and node.status(), 20, "the node")
        self.wait_log(node, "app.lua:1:")
        self.assertEqual(self.ready(node), 503)
        self.assertRegex(self.cli(node, "status").stdout, r'application "app" failed: \S*app.lua:1:')
        self.assertEqual(self.cli(node, "kv", "put", "k", "v", "--timeout", "10s").returncode, 0)
        self.write(SCRIPT.replace("GEN", "two"))
        self.assertEqual(self.cli(node, "reload").returncode, 0)
        self.wait_log(node, "this is two")
        self.assertEqual(self.ready(node), 200)

    def test_a_configuration_that_is_a_pipe_is_not_waited_for(self):
        node = self.start(SCRIPT.replace("GEN", "one"))
        os.unlink(node.config)
        os.mkfifo(node.config)
        done = self.cli(node, "reload", "--timeout", "5s")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no regular file", done.stderr)
        self.assertEqual(self.cli(node, "kv", "put", "k", "v").returncode, 0)

    def test_commits_are_told_once_across_reloads(self):
        node = self.start(SCRIPT.replace("GEN", "one"))
        self.cli(node, "reload")  # answered once the hook is there: a script is told of what comes after
        client = Client(f"127.0.0.1:{node.client}", 5)
        self.addCleanup(client.close)
        for i in range(600):
            client.call("propose", "kv", "set", {"key": f"k{i}", "value": i})
            if i % 60 == 0:
                os.kill(node.guardian_pid(), signal.SIGHUP)
        self.wait_log(node, "key=k599")
        told = [line.split("key=")[1].split()[0] for line in self.log(node).splitlines() if "told" in line]
        self.assertEqual(told, [f"k{i}" for i in range(600)])
        self.assertGreater(self.log(node).count("application loaded"), 3)

    def start_programs(self):
        node = self.start("")
        self.output = os.path.join(self.cluster.folder, "program.out")
        return node

    def reload_with(self, node, script, generation):
        self.write(script.replace("GEN", generation).replace("FILE", self.output))
        self.assertEqual(self.cli(node, "reload").returncode, 0)

    def wait_lines(self, expected):
        def lines():
            if not os.path.exists(self.output):
                return []
            with open(self.output) as f:
                return f.read().split("\n")[:-1]
        wait_until(lambda: lines() == expected, 10, f"{expected}, not {lines()}")

    def test_the_work_of_a_leader_never_overlaps(self):
        node, expected = self.start_programs(), []
        for generation in ("a", "b", "c"):
            self.reload_with(node, WORKER, generation)
            expected.append(f"begin {generation}")
            self.wait_lines(expected)
            expected.append(f"end {generation}")
        self.reload_with(node, "", "d")
        self.wait_lines(expected)

    def test_programs_of_the_application_itself_are_asked_to_stop(self):
        node = self.start_programs()
        self.reload_with(node, LASTING, "a")
        self.wait_lines(["begin a"])
        self.reload_with(node, "", "b")
        self.wait_lines(["begin a", "end a"])


if __name__ == "__main__":
    main()
