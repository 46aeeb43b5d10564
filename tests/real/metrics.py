#!/usr/bin/env python3
"""/metrics: a page that Prometheus reads, whose figures move when what they count happens; and how a
script that failed is told."""
import http.client
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, main, moonkeeper  # noqa: E402

SCRIPT = """
local mk = require "moonkeeper"
mk.on("test.quick", function() end, { name = 'quo"te' })
mk.on("test.fails", function() error("on purpose") end, { name = "fails" })
mk.on("test.spins", function() while true do end end, { name = "spins" })
mk.on("commit", function() end, { name = "commits" })
mk.timer.every(20, function() mk.emit("test.quick") end)
mk.timer.after(50, function() mk.emit("test.fails"); mk.emit("test.spins") end)
"""

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = rf'({NAME})="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)$")


def parse(page):
    """{(name, labels as sorted tuple): value}. ValueError where it is not the text format 0.0.4."""
    kinds, samples, closed, family = {}, {}, set(), None
    if not page.endswith("\n"):
        raise ValueError("the last line has no end")
    for line in page.splitlines():
        told = re.match(rf"# (HELP|TYPE) ({NAME}) (.+)$", line)
        if told:
            if told[2] != family:
                closed.add(family)
                family = told[2]
            if family in closed or told[1] == "TYPE" and family in kinds:
                raise ValueError(f"{family} comes twice")
            if told[1] == "TYPE":
                if told[3] not in ("counter", "gauge", "histogram"):
                    raise ValueError(f"{line}: no such type")
                kinds[family] = told[3]
            continue
        sample = SAMPLE.match(line)
        if not sample:
            raise ValueError(f"{line}: not a sample")
        name, labels = sample[1], tuple(sorted((x[0], x[1]) for x in re.findall(LABEL, sample[2] or "")))
        base = re.sub("_(bucket|sum|count)$", "", name) if kinds.get(family) == "histogram" else name
        if base != family:
            raise ValueError(f"{line}: is not of {family}")
        if (name, labels) in samples:
            raise ValueError(f"{line}: comes twice")
        samples[name, labels] = float(sample[sample.re.groups])
        if kinds[family] == "counter" and samples[name, labels] < 0:
            raise ValueError(f"{line}: a counter below 0")
    for family in (x for x in kinds if kinds[x] == "histogram"):
        check_histogram(samples, family)
    return samples


def check_histogram(samples, family):
    series = {labels for name, labels in samples if name == family + "_count"}
    for labels in series:
        buckets = sorted((float(dict(x)["le"]), v) for (name, x), v in samples.items()
                         if name == family + "_bucket" and set(labels) < set(x))
        counts = [v for _, v in buckets]
        if counts != sorted(counts) or buckets[-1][0] != float("inf"):
            raise ValueError(f"{family}: the buckets are not cumulative up to +Inf")
        if counts[-1] != samples[family + "_count", labels] or (family + "_sum", labels) not in samples:
            raise ValueError(f"{family}: +Inf is not the count, or there is no sum")


def get(node, path):
    connection = http.client.HTTPConnection("127.0.0.1", node.http, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BINARY)
        path = os.path.join(cls.cluster.folder, "app.lua")
        with open(path, "w") as f:
            f.write(SCRIPT)
        cls.cluster.set_apps(f'{{ name = "app", script = "{path}" }}')
        cls.cluster.__enter__()
        cls.leader = cls.cluster.wait_settled()
        cls.follower = next(x for x in cls.cluster.nodes if x is not cls.leader)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def value(self, node, name, **labels):
        """None if there is no such sample."""
        samples = parse(get(node, "/metrics")[1])
        return samples.get(("moonkeeper_" + name, tuple(sorted(labels.items()))))

    def becomes(self, node, name, condition, **labels):
        def there():
            value = self.value(node, name, **labels)
            return value is not None and condition(value)
        wait_until(there, 20, f"{name} {labels}")

    def put(self, node, *more):
        return moonkeeper("kv", "put", "k", "v", *more, "-e", f"127.0.0.1:{node.client}").returncode

    def test_proposals_are_counted_where_they_were_made(self):
        for node in (self.leader, self.follower):
            before = self.value(node, "raft_proposals_committed_total")
            index = self.value(node, "raft_applied_index")
            fsyncs = self.value(node, "disk_fsync_seconds_count")
            for _ in range(3):
                self.assertEqual(self.put(node), 0)
            self.assertEqual(self.value(node, "raft_proposals_committed_total"), before + 3)
            self.assertGreaterEqual(self.value(node, "raft_applied_index"), index + 3)
            self.assertGreaterEqual(self.value(node, "raft_commit_index"), index + 3)
            self.becomes(node, "disk_fsync_seconds_count", lambda v: v > fsyncs)
            self.assertGreater(self.value(node, "disk_fsync_seconds_sum"), 0)
            self.assertEqual(self.value(node, "raft_proposals_pending"), 0)

    def test_refused_proposals_are_counted_by_their_reason(self):
        def refused():
            return self.value(self.leader, "raft_proposals_rejected_total", code="conflict") or 0
        before = refused()
        self.assertEqual(self.put(self.leader, "--if-version", "1000000"), 6)
        self.assertEqual(refused(), before + 1)

    def test_who_leads_and_how_far_the_others_are(self):
        self.assertEqual(self.value(self.leader, "raft_is_leader"), 1)
        self.assertEqual(self.value(self.follower, "raft_is_leader"), 0)
        self.assertEqual(self.value(self.follower, "lease_remaining_seconds"), 0)
        self.becomes(self.leader, "lease_remaining_seconds", lambda v: v > 0)
        self.assertGreaterEqual(self.value(self.follower, "raft_leader_changes_total"), 1)
        for node in (self.leader, self.follower):  # a follower measures its links by pings
            for peer in self.cluster.nodes:
                if peer is not node:
                    self.becomes(node, "peer_rtt_seconds", lambda v: 0 < v < 1, peer=peer.name)
            self.assertIsNone(self.value(node, "peer_rtt_seconds", peer=node.name))

    def test_a_follower_does_not_tell_what_only_the_leader_knows(self):
        self.becomes(self.follower, "peer_rtt_seconds", lambda v: v > 0, peer=self.leader.name)
        for peer in self.follower.status()["peers"]:
            self.assertEqual([peer[x] for x in ("match", "next", "lag", "mode")], [None] * 4)
            self.assertNotEqual(peer["rtt_us"], 0)
        for peer in self.leader.status()["peers"]:
            self.assertGreater(peer["match"], 0)
            self.assertIn(peer["mode"], ("probe", "replicate"))

    def test_hooks_are_timed_and_their_troubles_counted(self):
        node = self.follower
        quick = {"app": "app", "event": "test.quick", "hook": r"quo\"te"}
        fails = {"app": "app", "event": "test.fails", "hook": "fails"}
        spins = {"app": "app", "event": "test.spins", "hook": "spins"}
        self.becomes(node, "hook_duration_seconds_count", lambda v: v >= 3, **quick)
        self.becomes(node, "hook_duration_seconds_sum", lambda v: v > 0, **quick)
        self.becomes(node, "hook_errors_total", lambda v: v == 1, **fails)
        self.becomes(node, "hook_killed_total", lambda v: v == 1, **spins)
        self.becomes(node, "hook_errors_total", lambda v: v == 1, **spins)
        self.becomes(node, "task_killed_total", lambda v: v == 1, app="app")
        self.becomes(node, "script_errors_total", lambda v: v >= 2, app="app")
        self.becomes(node, "lua_memory_bytes", lambda v: v > 10000, app="app")
        self.becomes(node, "task_running", lambda v: v >= 1, app="app")
        self.becomes(node, "hook_lag_entries", lambda v: v == 0,
                     app="app", event="commit", hook="commits")
        self.assertEqual(self.value(node, "app_failed", app="app"), 0)
        # The kill took the budget of 100 ms of processor time: it is in a bucket above.
        self.assertEqual(self.value(node, "hook_duration_seconds_bucket", le="0.05", **spins), 0)
        self.assertEqual(self.value(node, "hook_duration_seconds_bucket", le="+Inf", **spins), 1)


class Deaths(unittest.TestCase):
    def test_each_leader_that_comes_to_be_known_is_counted(self):
        with Cluster(BINARY) as cluster:
            leader = cluster.wait_leader()
            node = next(x for x in cluster.nodes if x is not leader)
            name = ("moonkeeper_raft_leader_changes_total", ())

            def changes():
                return parse(get(node, "/metrics")[1])[name]
            wait_until(lambda: changes() >= 1, 10, "a leader")
            before = changes()
            leader.kill()
            wait_until(lambda: changes() > before, 10, "another leader")


class FailedScripts(unittest.TestCase):
    def start(self, text):
        cluster = Cluster(BINARY, n=1)
        self.addCleanup(cluster.__exit__, None, None, None)
        path = os.path.join(cluster.folder, "app.lua")
        with open(path, "w") as f:
            f.write(text)
        cluster.set_apps(f'{{ name = "app", script = "{path}" }}')
        cluster.__enter__()
        cluster.wait_leader()
        return cluster.nodes[0]

    def cli(self, node, *args):
        return moonkeeper(*args, "-e", f"127.0.0.1:{node.client}")

    def test_a_main_chunk_that_fails_is_told_everywhere(self):
        node = self.start("local mk = require 'moonkeeper'\nlocal x = nil + 1\n")
        wait_until(lambda: "failed" in get(node, "/readyz")[1], 10, "the failure")
        status, text = get(node, "/readyz")
        self.assertEqual(status, 503)
        self.assertRegex(text, r'^application "app" failed: \S*app.lua:2: attempt to perform arithmetic')
        self.assertEqual(get(node, "/livez")[0], 200)
        self.assertIn("app.lua:2:", get(node, "/status")[1])
        self.assertIn('moonkeeper_app_failed{app="app"} 1\n', get(node, "/metrics")[1])
        for verb in ("status", "hooks"):
            done = self.cli(node, verb)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, r'n1: application "app" failed: \S*app.lua:2:')

    def test_one_that_fails_after_it_waited_is_told_too(self):
        node = self.start("local mk = require 'moonkeeper'\nmk.task.sleep(300)\nerror('later')\n")
        wait_until(lambda: get(node, "/readyz")[0] == 200, 10, "it waits, so it is ready")
        wait_until(lambda: "app.lua:3: later" in get(node, "/readyz")[1], 10, "the failure")

    def test_one_that_is_killed_is_told_too(self):
        node = self.start("while true do end\n")
        wait_until(lambda: "killed: over its budget" in get(node, "/readyz")[1], 20, "the kill")

    def test_one_without_hooks_is_told_how_to_add_one(self):
        node = self.start("local mk = require 'moonkeeper'\n")
        wait_until(lambda: get(node, "/readyz")[0] == 200, 10, "it to be ready")
        self.assertIn('mk.on("leader_elected"', self.cli(node, "hooks").stdout)
        with Cluster(BINARY, n=1) as bare:
            bare.wait_leader()
            self.assertIn("n1 runs no scripts", self.cli(bare.nodes[0], "hooks").stdout)


if __name__ == "__main__":
    main()
