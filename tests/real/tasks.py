#!/usr/bin/env python3
"""The verbs of `moonkeeper tasks` on real processes: what is submitted is checked against what the nodes offer, lists
are complete, and a task is cancelled also while it changes."""
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, failure, main, moonkeeper  # noqa: E402

FIRST, LISTED = 0xf0000000, 700  # more than a page, of ids that no task of the test has

# Writes to every task that is not over, again and again.
RESTLESS = """
local mk = require "moonkeeper"
mk.task.spawn(function()
  while true do
    for _, item in ipairs(mk.kv.list("tasks/task/") or {}) do
      if item.value.state == "running" and not item.value.cancel then
        item.value.noise = (item.value.noise or 0) + 1
        mk.kv.set(item.key, item.value, { if_version = item.version })
      end
    end
    mk.task.sleep(2)
  end
end)
"""


class Tasks(unittest.TestCase):
    def start(self, more=""):
        self.cluster = Cluster(BINARY, n=1)
        self.addCleanup(lambda: self.cluster.__exit__(*failure(self)))
        script = os.path.join(self.cluster.folder, "restless.lua")
        with open(script, "w") as f:
            f.write(RESTLESS)
        self.cluster.set_apps("{ script = 'bundled:tasks', config = { nodes = { n1 = { labels = { 'gpu' } } }, "
                              "slots = 20, stop_ms = 100, kinds = { nap = { argv = { 'sleep', '600' } } } } }, "
                              + more.format(script=script))
        self.cluster.__enter__()
        self.node = self.cluster.wait_leader()
        wait_until(lambda: json.loads(self.kv("list", "tasks/node/", "-o", "json").stdout)["items"], 10, "its offer")

    def kv(self, verb, *args):
        return moonkeeper("kv", verb, "-e", f"127.0.0.1:{self.node.client}", *args)

    def tasks(self, verb, *args):
        return moonkeeper("tasks", verb, "-e", f"127.0.0.1:{self.node.client}", *args)

    def submit(self, *args):
        done = self.tasks("submit", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def state(self, task):
        return json.loads(self.tasks("show", task, "-o", "json").stdout)["state"]

    def test_what_no_node_can_run_is_refused(self):
        self.start()
        for args, told in ((("nop",), 'there is no kind "nop"; did you mean "nap"?'),
                           (("--label", "disk", "nap"), 'no node has the label "disk"; there are gpu')):
            done = self.tasks("submit", *args)
            self.assertEqual(done.returncode, 1)
            self.assertIn(told, done.stderr)

    def test_a_list_says_how_a_program_has_failed(self):
        self.start()
        for command, told in (("exit 3", "exit code 3"), ("kill -9 $$", "ended by signal KILL")):
            task = self.submit("--", "sh", "-c", command)
            wait_until(lambda: self.state(task) == "failed", 10, "its end")
            self.assertRegex(self.tasks("list").stdout, f"{task} +failed +n1 +1 .* {told}\n")

    def test_a_list_is_complete_also_for_machines(self):
        self.start()
        record = {"state": "done", "kind": "nap", "attempt": 1}
        ops = [{"op": "set", "key": f"tasks/task/{FIRST + i:016x}", "value": record} for i in range(LISTED)]
        for i in range(0, LISTED, 100):
            done = moonkeeper("propose", "-e", f"127.0.0.1:{self.node.client}", "kv", "txn",
                              json.dumps({"ops": ops[i:i + 100]}))
            self.assertEqual(done.returncode, 0, done.stderr)
        self.submit("nap")
        listed = json.loads(self.tasks("list", "-o", "json", "--state", "done").stdout)
        self.assertEqual([task["id"] for task in listed], [f"{FIRST + i:x}" for i in range(LISTED)])
        self.assertEqual({task["kind"] for task in listed}, {"nap"})

    def test_a_task_is_cancelled_while_it_changes(self):
        self.start("{{ name = 'restless', script = '{script}' }}")
        for task in [self.submit("--label", "gpu", "nap") for _ in range(10)]:
            wait_until(lambda: self.state(task) == "running", 10, "its start")
            done = self.tasks("cancel", task)
            self.assertEqual(done.returncode, 0, done.stderr)
            wait_until(lambda: self.state(task) == "cancelled", 10, "its end")
            self.assertEqual(self.tasks("cancel", task).returncode, 0, "it is over, as was asked")


main()
