#!/usr/bin/env python3
"""mk.while_leader on real processes: on the leader and nowhere else, undisturbed, and over in time.

Each piece of work writes, at once, a line of its own into one file when it begins, every few
milliseconds while it works, and when it is told to end. Lines carry the machine's one monotonic clock.
"""
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import node_log  # noqa: E402
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, failure, main  # noqa: E402
from msgpack_rpc import Client  # noqa: E402

UNDISTURBED_SECONDS = 3
KILLS = 5
ELECTION_MIN_MS, ELECTION_MAX_MS = 500, 1000  # no busy machine takes a leader's lease
TICK_MS = 5

# While it works it says so every 5 ms; a planned hand-over waits until it has ended by itself.
SCRIPT = """
local mk = require "moonkeeper"
mk.while_leader("work", function(lead)
  local function say(what)
    mk.log.info("work " .. what, { token = lead.token, lead_term = lead.term, at_ms = mk.time.now_ms() })
  end
  say("begins")
  mk.task.defer(function() say("ends") end)
  while true do
    mk.task.sleep(%d)
    lead:check()
    say("goes on")
  end
end)
""" % TICK_MS


def now_ms():
    """As mk.time.now_ms() has it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * 1000


class Span:
    """One piece of work, as its lines tell it."""

    def __init__(self, node, line):
        self.node, self.token, self.term = node.name, int(line["token"]), int(line["lead_term"])
        self.begin = self.worked = float(line["at_ms"])
        self.widest = 0.0
        self.end = None

    def __repr__(self):
        return (f"<{self.node} token {self.token}: {self.begin:.1f} to {self.worked:.1f} ms, "
                f"end {self.end}>")


def spans(cluster):
    """All the work there was, in order of begin."""
    out = []
    for node in cluster.nodes:
        now = None
        for line in node_log.lines(node):
            what = line.get("msg")
            if what == "work begins":
                now = Span(node, line)
                out.append(now)
            elif what in ("work goes on", "work ends"):
                assert now and now.token == int(line["token"]) and now.end is None, (now, line)
                at = float(line["at_ms"])
                if what == "work ends":
                    now.end = at
                else:
                    now.widest, now.worked = max(now.widest, at - now.worked), at
    return sorted(out, key=lambda s: s.begin)


class WhileLeader(unittest.TestCase):
    def start(self, nodes=3):
        self.cluster = Cluster(
            BINARY, n=nodes, extra=f"election_ms = {{ {ELECTION_MIN_MS}, {ELECTION_MAX_MS} }},")
        path = os.path.join(self.cluster.folder, "work.lua")
        with open(path, "w") as f:
            f.write(SCRIPT)
        self.cluster.set_apps(f'{{ name = "work", script = "{path}" }}')
        self.cluster.__enter__()

    def setUp(self):
        self.start()

    def tearDown(self):
        self.cluster.__exit__(*failure(self))

    def work_of(self, name, after=0):
        """Wait for work on this node under a newer token."""
        return wait_until(lambda: next((s for s in spans(self.cluster)
                                        if s.node == name and s.token > after), None),
                          10, f"work on {name}")

    def never_two_at_once(self):
        seen = spans(self.cluster)
        for earlier, later in zip(seen, seen[1:]):
            self.assertLess(earlier.worked, later.begin, f"{earlier} and {later} overlap")
            if (earlier.node, earlier.term) == (later.node, later.term):
                self.assertEqual(earlier.token, later.token)  # a lease that lapsed and came back
            else:
                self.assertLess(earlier.token, later.token, "fencing tokens must increase")
                self.assertLess(earlier.term, later.term)
        return seen

    def test_it_starts_once_and_is_left_in_peace(self):
        self.in_peace()

    def test_it_is_left_in_peace_on_a_single_node(self):
        self.cluster.__exit__(None, None, None)
        self.start(nodes=1)
        self.in_peace()

    def in_peace(self):
        leader = self.cluster.wait_leader()
        self.work_of(leader.name)
        time.sleep(UNDISTURBED_SECONDS)
        seen = self.never_two_at_once()
        self.assertEqual([s.node for s in seen], [leader.name])
        self.assertIsNone(seen[0].end)
        self.assertGreater(seen[0].worked - seen[0].begin, UNDISTURBED_SECONDS * 1000 - 500)
        # It got its turn all the time: no cancellation in between, and none of the node's threads slept.
        self.assertLess(seen[0].widest, ELECTION_MIN_MS)

    def test_the_work_begins_anew_when_the_leader_is_killed(self):
        token = 0
        for kill in range(KILLS):
            leader = self.leader_after(token)
            token = self.work_of(leader.name, token).token
            leader.kill(guardian=kill % 2 == 1)
            self.leader_after(token)  # mostly another; the killed one may be back so soon that it wins
            if kill % 2 == 1:
                leader.start()
            wait_until(leader.status, 10, "the return of the killed node")
        self.work_of(self.leader_after(token).name, token)
        seen = self.never_two_at_once()
        self.assertGreaterEqual(len({s.node for s in seen}), 2)
        self.assertGreaterEqual(len(seen), KILLS + 1)

    def leader_after(self, token):
        """The node whose work bears a newer token."""
        newest = wait_until(lambda: [s for s in spans(self.cluster) if s.token > token], 10,
                            "work under a newer token")[-1]
        return next(x for x in self.cluster.nodes if x.name == newest.node)

    def test_a_planned_stop_ends_the_work_before_the_successor_begins(self):
        leader = self.cluster.wait_leader()
        first = self.work_of(leader.name)
        self.assertEqual(leader.stop(), 0)
        others = [x for x in self.cluster.nodes if x is not leader]
        successor = self.cluster.wait_leader(among=others)
        self.work_of(successor.name, first.token)
        seen = self.never_two_at_once()
        self.assertEqual([s.node for s in seen], [leader.name, successor.name])
        self.assertIsNotNone(seen[0].end, "the work was not told to end")
        self.assertLess(seen[0].end, seen[1].begin)

    def test_a_transfer_ends_the_work_before_the_successor_begins(self):
        leader = self.cluster.wait_leader()
        token = self.work_of(leader.name).token
        for _ in range(3):
            target = next(x for x in self.cluster.nodes if x is not leader)
            client = Client(f"127.0.0.1:{leader.client}", 5)
            self.assertEqual(client.call("transfer", target.name), target.name)
            client.close()
            leader, token = target, self.work_of(target.name, token).token
        seen = self.never_two_at_once()
        self.assertEqual(len(seen), 4)
        for earlier, later in zip(seen, seen[1:]):
            self.assertLess(earlier.end, later.begin)

    def test_without_a_lease_no_work_goes_on_or_begins(self):
        leader = self.cluster.wait_leader()
        self.work_of(leader.name)
        pids = [x.node_pid() for x in self.cluster.nodes if x is not leader]
        frozen_ms = now_ms()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        # The leader needs ELECTION_MAX_MS to find that it leads no more; its lease ends sooner.
        time.sleep(ELECTION_MAX_MS / 1000)
        seen = self.never_two_at_once()
        self.assertEqual([s.node for s in seen], [leader.name])
        self.assertLess(seen[0].worked, frozen_ms + ELECTION_MIN_MS)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: len(spans(self.cluster)) > 1, 10, "work again")
        self.never_two_at_once()

    def test_a_leader_that_is_frozen_has_lost_its_work_when_it_wakes(self):
        leader = self.cluster.wait_leader()
        first = self.work_of(leader.name)
        pid = leader.node_pid()
        os.kill(pid, signal.SIGSTOP)
        others = [x for x in self.cluster.nodes if x is not leader]
        successor = self.cluster.wait_leader(among=others)
        self.work_of(successor.name, first.token)
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: (leader.status() or {}).get("role") == "follower", 10, "a follower")
        seen = self.never_two_at_once()
        self.assertEqual([s.node for s in seen], [leader.name, successor.name])


if __name__ == "__main__":
    main()
