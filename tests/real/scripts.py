#!/usr/bin/env python3
"""A script that spins delays no heartbeat, causes no election, is killed, and stops no other hook.

On all three nodes, the leader's included, a hook does the worst that a script can do, again and again,
while the followers measure how long they are without a word from their leader.
"""
import datetime
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import node_log  # noqa: E402
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, main  # noqa: E402
from msgpack_rpc import Client  # noqa: E402

HEARTBEAT_MS = 50
SPIN_SECONDS = 2
# Nobody stands for election because the machine is busy: what is late is seen in the silence of the leader.
TIMES = f"heartbeat_ms = {HEARTBEAT_MS}, election_ms = {{ 1000, 1500 }},"

# The spinning hook is called first; its neighbour and the timer are of the same application, the
# other application is not. A tripped hook would be spared after ten failures: this one is put anew.
SCRIPT = """
local mk = require "moonkeeper"
local function spin()
  mk.log.info("spin begins")
  local began = mk.time.now_ms()
  %s
  mk.log.info("spin returned", { took_ms = mk.time.now_ms() - began })
end
mk.timer.every(150, function()
  mk.on("test.spin", spin, { name = "spinner", priority = 1 })
  mk.emit("test.spin")
end)
mk.on("test.spin", function() end, { name = "neighbour" })
"""
BYSTANDER = """
local mk = require "moonkeeper"
mk.timer.every(20, function() mk.emit("test.tick") end)
mk.on("test.tick", function() end, { name = "bystander" })
"""

# One call that no instruction count can interrupt: sorting 1.6 million numbers takes about a second. They
# are made in portions that stay within the budget; the task is killed when the call returns.
LONG_CALL = """
  size = math.min((size or 100000) * 2, 1600000)
  local numbers = {}
  for i = 1, size do
    numbers[i] = i * 2654435761 % 1000003
    if i % 20000 == 0 then mk.task.sleep(1) end
  end
  mk.log.info("a long call")
  table.sort(numbers)
"""


def moment(line):
    return datetime.datetime.fromisoformat(line["ts"].rstrip("Z"))


def long_calls(node):
    """How long the calls took that ended with the death of their task, in seconds."""
    began, took = None, []
    for line in node_log.lines(node):
        if line.get("msg") == "a long call":
            began = moment(line)
        elif line.get("msg") == "script error" and began:
            took.append((moment(line) - began).total_seconds())
            began = None
    return took


class Spinning(unittest.TestCase):
    def hook(self, node, name):
        client = Client(f"127.0.0.1:{node.client}", 5)
        try:
            return next(h for h in client.call("hooks") if h["name"] == name)
        finally:
            client.close()

    def spin(self, body, killed=True):
        """The longest silence is held to its bound. A machine that is busy otherwise delays anybody: so a cluster without
        scripts runs beside it and shows how much, and the best of three runs counts: a script that delays heartbeats
        does so in each."""
        for attempt in range(3):
            with Cluster(BINARY, extra=TIMES) as control:
                control.wait_leader()
                longest = self.spin_once(body, killed)
                unavoidable = max(self.silences(control))
            if longest <= 2 * max(HEARTBEAT_MS, unavoidable):
                return
        self.fail(f"the leader was silent for {longest} ms, without scripts for {unavoidable} ms; "
                  f"its interval is {HEARTBEAT_MS} ms")

    def silences(self, cluster):
        """The longest that the followers were without a word from the leader, in ms."""
        seen = [node.status(5) for node in cluster.nodes]
        return [status["leader_silence_max_us"] / 1000 for status in seen if status["role"] != "leader"]

    def spin_once(self, body, killed):
        cluster = Cluster(BINARY, extra=TIMES)
        apps = []
        for name, text in (("hostile", SCRIPT % body), ("bystander", BYSTANDER)):
            path = os.path.join(cluster.folder, name + ".lua")
            with open(path, "w") as f:
                f.write(text)
            apps.append(f'{{ name = "{name}", script = "{path}" }}')
        cluster.set_apps(", ".join(apps))
        with cluster:
            leader = cluster.wait_leader()
            term = leader.status()["term"]
            for node in cluster.nodes:
                wait_until(lambda: node_log.lines(node, "spin begins"), 10, "a script that spins")
            before = [self.hook(x, "bystander")["calls"] for x in cluster.nodes]
            self.slowest_write(leader, SPIN_SECONDS)
            if not killed:
                for node in cluster.nodes:
                    wait_until(lambda: max(long_calls(node), default=0) > 0.5, 30, "a long call")
            silences = self.silences(cluster)
            for node, calls in zip(cluster.nodes, before):
                status = node.status(5)
                self.assertEqual((status["leader"], status["term"]), (leader.name, term))
                wait_until(lambda: self.hook(node, "bystander")["calls"] > calls, 30, f"{node.name}: the bystander")
                wait_until(lambda: self.hook(node, "neighbour")["calls"] > 0, 30, f"{node.name}: the neighbour")
                if killed:
                    # The budget is of processor time: a busy machine takes a while to use it up.
                    wait_until(lambda: self.kills(node), 30, f"{node.name} to kill the task")
                    self.assertFalse(node_log.lines(node, "spin returned"))
            print(f"  longest silence of the leader {max(silences):.1f} ms, slowest write "
                  f"{self.slowest:.1f} ms", file=sys.stderr)
            self.assertGreater(min(silences), HEARTBEAT_MS / 2)  # it was measured
            return max(silences)

    def kills(self, node):
        return [x for x in node_log.lines(node, "script error") if "over its budget" in x["err"]]

    def slowest_write(self, leader, seconds):
        """A few writes, seldom: appends that carry entries would hide late heartbeats."""
        client = Client(f"127.0.0.1:{leader.client}", 5)
        self.slowest, end = 0.0, time.monotonic() + seconds
        while time.monotonic() < end:
            begin = time.monotonic()
            client.call("propose", "kv", "set", {"key": "k", "value": 1}, {})
            self.slowest = max(self.slowest, (time.monotonic() - begin) * 1000)
            time.sleep(0.5)
        client.close()

    def test_an_endless_loop(self):
        self.spin("while true do end")

    def test_an_endless_loop_inside_pcall(self):
        self.spin("while true do pcall(function() while true do end end) end")

    def test_an_endless_loop_inside_an_xpcall_handler(self):
        self.spin("xpcall(error, function() while true do end end)")

    def test_an_endless_comparator(self):
        self.spin("table.sort({ 3, 1, 2 }, function() while true do end end)")

    def test_one_c_call_that_takes_a_second(self):
        self.spin(LONG_CALL, killed=False)


if __name__ == "__main__":
    main()
