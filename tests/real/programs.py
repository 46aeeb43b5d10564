#!/usr/bin/env python3
"""Programs that scripts start, on real processes: none outlives its node, and what works for the leader is
over before another may lead, even when the old leader is stopped and cannot do anything about it.

Each worker, a child of its, and a daemon that it has started, which has left its process group and its parent, writes, every few
milliseconds, a line with the machine's one monotonic clock into a file that all share: its node's name, its fencing token, the time.
Lines tell who worked when.
"""
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import node_log  # noqa: E402
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, failure, main, moonkeeper  # noqa: E402
from msgpack_rpc import Client, RpcError  # noqa: E402

ELECTION_MIN_MS, ELECTION_MAX_MS = 150, 300

SCRIPT = """
local mk = require "moonkeeper"
mk.while_leader("worker", function(lead)
  while true do
    local p = assert(mk.exec.spawn({ %r, %r, %r }, { stdout = "drop", stop_ms = 1000 }))
    p:wait()
    mk.task.sleep(10)
  end
end, { grace_ms = 1500 })
"""

# The same by the script that comes with moonkeeper.
BUNDLED = """{ script = "bundled:worker", config = { workers = {
  { name = "lines", argv = { %r, %r, %r }, stop_ms = 1000, restart_ms = 10 } } } }"""

# Programs one after the other, each numbered in place of the token: some end by themselves, leaving their child and their
# daemon, some are stopped once their daemon works, as a cron job is whose time is up.
IN_TURN = """
local mk = require "moonkeeper"
mk.while_leader("in turn", function(lead)
  for i = 1, 6 do
    local p = assert(mk.exec.spawn({ %r, %r, %r, i %% 2 == 0 and "once" or "on" }, { stdout = "capture", stop_ms = 1000,
      env = { MOONKEEPER_FENCE = lead.token * 10 + i } })) -- it may come to lead anew, and begin again
    p:read_line()
    if i %% 2 == 1 then p:stop() else p:wait() end
  end
  mk.log.info("all have had their turn")
end)
"""

# Several beside each other that do not stop, each with a crowd that has left its group: killing them all takes time.
HURRIED = """
local mk = require "moonkeeper"
mk.while_leader("worker", function(lead)
  for _ = 1, 8 do
    mk.task.spawn(function()
      mk.exec.run({ %r, %r, %r, "crowd" }, { stdout = "drop", stop_ms = 5000 })
    end)
  end
  mk.task.sleep(1000000)
end, { grace_ms = 100 })
"""
CROWD = 20
HURRIED_PIDS = 8 * (3 + CROWD)

# Holds up all scripts of its node, within C, where nothing can interrupt it: sorting takes a second and more.
SPINNER = """
local mk = require "moonkeeper"
local list = {}
for i = 1, 800000 do list[i] = i * 7919 % 1000003 end
mk.on("spin.now", function()
  mk.log.info("spinning")
  table.sort(list, math.ult)
end)
mk.while_leader("spinner", function()
  while not mk.kv.get("spin", { read = "local" }) do mk.task.sleep(20) end
  mk.emit("spin.now")
end)
"""

WORKER = f"CROWD = {CROWD}" + """
import os, signal, sys, time
name = os.environ["MOONKEEPER_NODE"]
token = os.environ["MOONKEEPER_FENCE"]
main, (begun, begins) = os.getpid(), os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        main = None
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
stopping = []
signal.signal(signal.SIGTERM, lambda *_: "crowd" in sys.argv or stopping.append(1))
for _ in range(CROWD if main == os.getpid() and "crowd" in sys.argv else 0):
    if os.fork() == 0:
        os.setsid()
        os.write(fd, b"%s %s %d %.3f\\n" % (name.encode(), token.encode(), os.getpid(), time.clock_gettime(time.CLOCK_BOOTTIME) * 1000))
        while True:
            signal.pause()
while not stopping:
    now = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
    os.write(fd, b"%s %s %d %.3f\\n" % (name.encode(), token.encode(), os.getpid(), now))
    if main is None:
        os.write(begins, b".") if begins else None
        begins = None
    elif main == os.getpid() and begun:
        os.read(begun, 1)
        begun = None
        print("the daemon works", flush=True)
        if "once" in sys.argv:
            os._exit(0)
    time.sleep(0.02 if "crowd" in sys.argv else 0.002)
os.write(fd, b"%s %s stopped 0\\n" % (name.encode(), token.encode()))
"""


class Lines:
    """What the workers have written."""

    def __init__(self, path):
        self.path = path

    def all(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path) as file:
            return [line.split() for line in file if line.endswith("\n")]

    def working(self):
        return [(node, int(token), int(pid), float(at))
                for node, token, pid, at in self.all() if pid != "stopped"]

    def pids(self, token):
        return {pid for _, t, pid, _ in self.working() if t == token}

    def group(self, token):
        """The worker, its child, its daemon; None before all have written."""
        pids = self.pids(token)
        return pids if len(pids) == 3 else None

    def spans(self):
        """{token: (node, first, last)} in ms."""
        spans = {}
        for node, token, _, at in self.working():
            first, last = spans.get(token, (node, at, at))[1:]
            spans[token] = (node, min(first, at), max(last, at))
        return spans


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class ProgramsTest(unittest.TestCase):
    def start(self, bundled=False, spinner=False, source=SCRIPT, n=3, flags=(),
              election_ms=(ELECTION_MIN_MS, ELECTION_MAX_MS)):
        self.cluster = cluster = Cluster(BINARY, n=n, extra="election_ms = { %d, %d }," % election_ms)
        cluster.flags = flags
        worker = os.path.join(cluster.folder, "worker.py")
        script = os.path.join(cluster.folder, "script.lua")
        self.lines = lines = Lines(os.path.join(cluster.folder, "lines"))
        with open(worker, "w") as file:
            file.write(WORKER)
        with open(script, "w") as file:
            file.write(source % (sys.executable, worker, lines.path))
        apps = (BUNDLED % (sys.executable, worker, lines.path) if bundled else
                f'{{ name = "worker", script = "{script}" }}')
        if spinner:
            path = os.path.join(cluster.folder, "spinner.lua")
            with open(path, "w") as file:
                file.write(SPINNER)
            apps += f', {{ name = "spinner", script = "{path}" }}'
        cluster.set_apps(apps)
        cluster.__enter__()
        return cluster, lines

    def tearDown(self):
        """A cluster in tests ends by SIGKILL of guardians too: then the next ones would clear up."""
        self.cluster.__exit__(*failure(self))
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline") as file:
                    if int(pid) != os.getpid() and self.lines.path in file.read():
                        os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass

    def worker_of_another(self, lines, tokens):
        """Wait until there is a worker of a leadership that is not among these."""
        return wait_until(
            lambda: next((w for w in reversed(lines.working()) if w[1] not in tokens), None),
            30, "another worker")

    def check_apart(self, lines):
        spans = sorted(lines.spans().items())
        for (_, (_, _, last)), (token, (_, first, _)) in zip(spans, spans[1:]):
            print(f"\n    {first - last:.1f} ms without a worker before {token}", end="", file=sys.stderr)
            self.assertLess(last, first, f"the worker of {token} began too early: {spans}")

    def test_the_bundled_worker_comes_and_goes_with_leadership(self):
        """Killed, stopped for longer than the lease, stopped as planned."""
        cluster, lines = self.start(bundled=True)
        tokens = set()

        def next_worker():
            name, token, _, _ = self.worker_of_another(lines, tokens)
            tokens.add(token)
            group = wait_until(lambda: lines.group(token), 10, "all processes of a worker")
            return next(n for n in cluster.nodes if n.name == name), group
        node, group = next_worker()
        node.kill()
        wait_until(lambda: not any(is_alive(p) for p in group), 10, "the end of its programs")
        node, group = next_worker()
        pid = node.node_pid()
        os.kill(pid, signal.SIGSTOP)
        other, _ = next_worker()
        self.assertFalse(any(is_alive(p) for p in group))
        os.kill(pid, signal.SIGCONT)
        self.assertEqual(other.stop(), 0)
        next_worker()
        self.check_apart(lines)

    def test_a_worker_ends_with_the_lease_while_all_scripts_of_its_node_are_held_up(self):
        """Nothing in the node can look at the clock for its scripts: the guardian does."""
        cluster, lines = self.start(spinner=True)
        name, token, _, _ = self.worker_of_another(lines, set())
        node = next(n for n in cluster.nodes if n.name == name)
        wait_until(lambda: lines.group(token), 10, "all processes of a worker")
        client = Client(f"127.0.0.1:{node.client}", 5)
        client.call("propose", "kv", "set", {"key": "spin", "value": 1})
        client.close()

        def logged(text):
            return next((line for line in node_log.lines(node) if text in line["msg"] + line.get("err", "")), None)
        wait_until(lambda: logged("spinning"), 10, "the spinning script")
        others = [n.node_pid() for n in cluster.nodes if n is not node]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        frozen_ms = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
        killed = wait_until(lambda: logged("budget"), 30, "the end of the spinning")
        spun_until_ms = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
        for pid in others:
            os.kill(pid, signal.SIGCONT)
        last_ms = lines.spans()[token][2]
        print(f"\n    {last_ms - frozen_ms:.1f} ms of work after the others were frozen, scripts were held up for "
              f"{spun_until_ms - frozen_ms:.1f} ms", end="", file=sys.stderr)
        self.assertEqual(killed["msg"], "script error")
        self.assertGreater(spun_until_ms, frozen_ms + 2 * ELECTION_MIN_MS, "or this says nothing")
        self.assertLess(last_ms, frozen_ms + ELECTION_MIN_MS)

    def test_a_killed_node_takes_its_programs_along(self):
        cluster, lines = self.start()
        tokens = set()
        for _ in range(3):
            name, token, _, _ = self.worker_of_another(lines, tokens)
            tokens.add(token)
            node = next(n for n in cluster.nodes if n.name == name)
            group = wait_until(lambda: lines.group(token), 10, "all processes of a worker")
            os.kill(node.node_pid(), signal.SIGKILL)
            wait_until(lambda: not any(is_alive(p) for p in group), 10, "the end of its programs")
        self.worker_of_another(lines, tokens)
        self.check_apart(lines)

    def check_turns(self, cluster, lines):
        wait_until(lambda: any(line["msg"] == "all have had their turn" for line in node_log.lines(cluster.nodes[0])), 30,
                   "the last program's end")
        for token in sorted(lines.spans())[-6:]:
            self.assertGreaterEqual(len({pid for _, t, pid, _ in lines.working() if t == token}), 2, token)
        self.check_apart(lines)
        self.assertFalse(any(is_alive(pid) for _, _, pid, _ in lines.working()))

    def test_nothing_of_a_program_is_left_when_the_next_one_begins(self):
        self.check_turns(*self.start(source=IN_TURN, n=1))

    def test_nor_where_no_guardian_takes_in_its_orphans(self):
        self.check_turns(*self.start(source=IN_TURN, n=1, flags=["--no-guardian"]))

    def test_a_stopped_leader_has_no_worker_beyond_its_lease(self):
        cluster, lines = self.start()
        name, token, _, _ = self.worker_of_another(lines, set())
        node = next(n for n in cluster.nodes if n.name == name)
        group = wait_until(lambda: lines.group(token), 10, "all processes of a worker")
        os.kill(node.node_pid(), signal.SIGSTOP)
        other = self.worker_of_another(lines, {token})
        self.assertFalse(any(is_alive(p) for p in group))
        os.kill(node.node_pid(), signal.SIGCONT)
        time.sleep(0.5)  # nothing is waited for: it must not begin to work again
        self.assertEqual({w[1] for w in lines.working()}, {token, other[1]})
        self.check_apart(lines)

    def test_a_planned_hand_over_waits_until_workers_that_do_not_stop_are_killed(self):
        """They, and all that they have started, are gone when another node leads."""
        cluster, lines = self.start(source=HURRIED, election_ms=(600, 1200))
        tokens, done = set(), False
        while not done:
            name, token, _, _ = self.worker_of_another(lines, tokens)
            tokens.add(token)
            node = next(n for n in cluster.nodes if n.name == name)
            wait_until(lambda: len(lines.pids(token)) >= HURRIED_PIDS or max(lines.spans()) > token, 60, "all processes")
            client = Client(f"127.0.0.1:{node.client}", 30)
            try:
                client.call("transfer", None, 20000, timeout=25.0)
                done = True
            except RpcError as error:  # so many begin at once that it has lost leadership meanwhile, or cannot be heard
                print(f"\n    {error}", end="", file=sys.stderr)
                self.assertLess(len(tokens), 10)
                continue
            finally:
                client.close()
            self.assertEqual([pid for pid in lines.pids(token) if is_alive(pid)], [])
        self.check_apart(lines)

    def test_a_planned_hand_over_waits_for_the_worker_to_stop(self):
        """When that is asked for, and the old leader lives on, so that its guardian has no reason to clear up after it; and
        when the leader is stopped."""
        cluster, lines = self.start()
        tokens = set()
        for transfer in (True, False):
            name, token, _, _ = self.worker_of_another(lines, tokens)
            tokens.add(token)
            node = next(n for n in cluster.nodes if n.name == name)
            group = wait_until(lambda: lines.group(token), 10, "all processes of a worker")
            if transfer:
                done = moonkeeper("transfer", "-e", f"127.0.0.1:{node.client}")
                self.assertEqual(done.returncode, 0, done.stderr)
            else:
                os.kill(node.guardian_pid(), signal.SIGTERM)
            self.worker_of_another(lines, tokens)
            self.assertIn([name, str(token), "stopped", "0"], lines.all())
            self.assertFalse(any(is_alive(p) for p in group))
        self.check_apart(lines)


if __name__ == "__main__":
    main()
