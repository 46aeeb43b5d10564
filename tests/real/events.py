#!/usr/bin/env python3
"""What hooks are told over failovers: each event where and as often as lua/README.md says, with its fields."""
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import node_log  # noqa: E402
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, failure, main  # noqa: E402
from persistent import Persistent  # noqa: E402

# Each process writes a run of its own, once its hooks are there: the log of a node goes on when it is started again.
SCRIPT = """
local mk = require "moonkeeper"
for _, name in ipairs { "leader_elected", "leader_ready", "leader_lost", "term_change", "role_change",
    "step_down", "election_started", "commit", "shutdown" } do
  mk.on(name, function(ev) mk.log.info("event", { text = mk.json.encode(ev) }) end,
    { replay = name == "leader_elected" }) -- whom others have elected may be known before there is a hook
end
mk.log.info("run")
"""
FIELDS = {
    "leader_elected": {"leader_id": str, "addr": str, "is_self": bool},
    "leader_ready": {"index": int, "token": int},
    "leader_lost": {"last_leader_id": str, "reason": str},
    "term_change": {"old_term": int},
    "role_change": {"from": str, "to": str, "reason": str},
    "step_down": {"reason": str},
    "election_started": {"attempt": int, "prevote": bool, "votes_needed": int},
    "commit": {"index": int, "entry_term": int, "kind": str, "size": int, "id": str},
    "shutdown": {"deadline_ms": int},
}
COMMON = {"name": str, "seq": int, "time_ms": int, "term": int}
ROLES = {"follower", "pre_candidate", "candidate", "leader"}
WRITES = 30


def runs(node):
    """The events of each process of this node, in order."""
    out = []
    for line in node_log.lines(node):
        if line.get("msg") == "run":
            out.append([])
        elif line.get("msg") == "event":
            out[-1].append(json.loads(line["text"]))
    return out


def named(run, name):
    return [ev for ev in run if ev["name"] == name]


class Failover(unittest.TestCase):
    """A leader is killed, comes back, and the next one is stopped as planned."""

    @classmethod
    def setUpClass(cls):
        # A process that is killed while it writes is not gone before the disk has answered: with
        # timeouts this long, its guardian says so in time.
        cls.cluster = c = Cluster(BINARY, extra="election_ms = { 1000, 1500 },")
        path = os.path.join(c.folder, "events.lua")
        with open(path, "w") as f:
            f.write(SCRIPT)
        c.set_apps(f'{{ name = "events", script = "{path}" }}')
        c.__enter__()
        cls.failed = None
        try:
            cls.play(c)
        except BaseException:
            c.__exit__(*sys.exc_info())
            raise

    @classmethod
    def play(cls, c):
        first = c.wait_leader()
        cls.first_term = first.status()["term"]
        cls.write("a")
        first.kill()
        cls.led_by_one_in_a_term_after(cls.first_term)
        cls.write("b")
        second = c.wait_leader()
        term = second.status()["term"]
        assert second.stop() == 0
        cls.led_by_one_in_a_term_after(term)
        before = len(runs(second))
        second.start()
        # A commit hook hears of what is applied from then on that it is there.
        wait_until(lambda: len(runs(second)) > before, 10, f"the hooks of {second.name}")
        cls.write("c")
        cls.led_by_one_in_a_term_after(term)
        index = c.wait_leader().status()["last_applied"]
        for x in c.nodes:
            wait_until(lambda: any(ev["index"] >= index for ev in named(runs(x)[-1], "commit")), 10,
                       f"the last commit on {x.name}")
        cls.runs = {x.name: runs(x) for x in c.nodes}
        cls.killed, cls.stopped = first.name, second.name

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(cls.failed, None, None)

    def tearDown(self):
        type(self).failed = self.failed or failure(self)[0]

    @classmethod
    def write(cls, prefix):
        client = Persistent(cls.cluster.nodes)
        for i in range(WRITES):
            client.call("propose", "kv", "set", {"key": f"{prefix}{i}", "value": i}, {"id": f"{prefix}{i}"})
        client.close()

    @classmethod
    def led_by_one_in_a_term_after(cls, term):
        def same():
            seen = [x.status() for x in cls.cluster.nodes if x.process.poll() is None]
            views = {(s["leader"], s["term"]) for s in seen if s}
            leader, now = next(iter(views), ("", 0))
            return None not in seen and len(views) == 1 and leader and now > term
        return wait_until(same, 10, f"all to agree on a leader after term {term}")

    def all_runs(self):
        return [(name, run) for name, of_node in self.runs.items() for run in of_node]

    def test_every_event_has_its_fields(self):
        seen = set()
        for name, run in self.all_runs():
            for ev in run:
                seen.add(ev["name"])
                for field, kind in {**COMMON, **FIELDS[ev["name"]]}.items():
                    self.assertIs(type(ev.get(field)), kind, f"{field} of {ev} on {name}")
        self.assertEqual(seen, set(FIELDS))

    def test_the_events_of_one_hook_come_in_order_none_twice(self):
        for node, run in self.all_runs():
            for name in FIELDS:
                seqs = [ev["seq"] for ev in named(run, name)]
                self.assertEqual(seqs, sorted(set(seqs)), f"{name} on {node}")

    def test_every_node_hears_of_each_leader_once_and_of_the_same(self):
        leaders = {}
        for name, run in self.all_runs():
            terms = [ev["term"] for ev in named(run, "leader_elected")]
            lost = [ev["term"] for ev in named(run, "leader_lost")]
            self.assertEqual(terms, sorted(terms), name)
            for term in terms:  # one that is missed for a while, on a busy machine, and found again is told again
                self.assertLessEqual(terms.count(term), 1 + lost.count(term), f"{name}: once in term {term}")
            for ev in named(run, "leader_elected"):
                leaders.setdefault(ev["term"], set()).add(ev["leader_id"])
                self.assertEqual(ev["is_self"], ev["leader_id"] == name)
                addr = next(x for x in self.cluster.nodes if x.name == ev["leader_id"]).peer
                self.assertEqual(ev["addr"], f"127.0.0.1:{addr}")
        self.assertGreaterEqual(len(leaders), 3)
        for term, ids in leaders.items():
            self.assertEqual(len(ids), 1, f"term {term}")
        # Who is there at the end has heard of the leader of the last term.
        for name, of_node in self.runs.items():
            last = named(of_node[-1], "leader_elected")[-1]["term"]
            self.assertEqual(last, max(leaders), name)

    def test_a_leader_is_ready_once_and_its_token_is_a_commit_of_its_own(self):
        tokens = []
        for name, run in self.all_runs():
            own = [ev["term"] for ev in named(run, "leader_elected") if ev["is_self"]]
            ready = named(run, "leader_ready")
            self.assertEqual([ev["term"] for ev in ready], own, name)
            for ev in ready:
                self.assertEqual(ev["index"], ev["token"])
                tokens.append((ev["term"], ev["token"]))
                commit = next(c for c in named(run, "commit") if c["index"] == ev["token"])
                self.assertEqual((commit["kind"], commit["entry_term"]), ("noop", ev["term"]))
        tokens = [token for _, token in sorted(tokens)]
        self.assertEqual(tokens, sorted(set(tokens)))

    def test_terms_only_rise_and_each_change_says_from_where(self):
        for name, run in self.all_runs():
            now = None
            for ev in named(run, "term_change"):
                self.assertLess(ev["old_term"], ev["term"])
                self.assertIn(now, (None, ev["old_term"]), name)
                now = ev["term"]

    def test_roles_form_a_chain(self):
        for name, run in self.all_runs():
            role = "follower"
            for ev in named(run, "role_change"):
                self.assertEqual(ev["from"], role, name)
                self.assertIn(ev["to"], ROLES - {role})
                role = ev["to"]

    def test_a_lost_leader_is_named_with_the_reason(self):
        def lost(name):
            return [ev for node, run in self.all_runs() for ev in named(run, "leader_lost")
                    if ev["last_leader_id"] == name and node != name]
        # The death was certified by its guardian; a vote that carries the certificate may come first.
        # The planned stop was announced.
        reasons = {ev["reason"] for ev in lost(self.killed) if ev["term"] == self.first_term}
        self.assertIn("certificate", reasons)
        self.assertLessEqual(reasons, {"certificate", "higher_term"})
        self.assertLessEqual({ev["reason"] for ev in lost(self.stopped)},
                             {"stepped_down", "higher_term"})
        run = next(run for run in self.runs[self.stopped] if named(run, "shutdown"))
        self.assertEqual([ev["reason"] for ev in named(run, "step_down")], ["transfer"])
        self.assertIn(named(run, "step_down")[0]["successor_id"], self.runs)

    def test_commits_come_in_order_none_twice_and_all_the_same(self):
        entries = {}
        for name, run in self.all_runs():
            commits = named(run, "commit")
            indexes = [ev["index"] for ev in commits]
            if indexes:
                self.assertEqual(indexes, list(range(indexes[0], indexes[0] + len(indexes))), name)
            for ev in commits:
                what = (ev["entry_term"], ev["kind"], ev["id"], ev["size"], ev.get("sm"), ev.get("cmd"),
                        json.dumps(ev.get("args"), sort_keys=True))
                self.assertEqual(entries.setdefault(ev["index"], what), what)
        keys = [json.loads(e[6])["key"] for e in entries.values() if e[5] == "set"]
        for prefix in "abc":
            for i in range(WRITES):
                self.assertIn(f"{prefix}{i}", keys)
        # Those who were there from the first commit on have been given them all.
        for name, of_node in self.runs.items():
            if len(of_node) == 1:
                self.assertEqual(len(named(of_node[0], "commit")), max(entries), name)


if __name__ == "__main__":
    main()
