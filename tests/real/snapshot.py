#!/usr/bin/env python3
"""Snapshots on real processes: a follower that was away for long is sent the state, and the log stays small.

A three-node cluster takes a snapshot every few hundred entries, while clients write. A follower is killed
with SIGKILL and stays away until all that it lacks is compacted; it must come back by snapshot and hold the
same state. Again, with kills in the middle of the way. Then all nodes restart from their snapshots. The log
on the disk must stay within a bound throughout.

    tests/real/snapshot.py build/moonkeeper [--writes 6000]
"""
import argparse
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from msgpack_rpc import Client  # noqa: E402
from persistent import Persistent  # noqa: E402

SEGMENT_BYTES = 256 << 10
POLICY = ("snapshot = { entries = 500, bytes = 0, keep_entries = 20, hold_bytes = 100000 },\n"
          f"  limits = {{ segment_bytes = {SEGMENT_BYTES} }},")


class Writer(threading.Thread):
    """Sets keys until it is told to stop; remembers what was acknowledged."""

    def __init__(self, nodes, name):
        super().__init__(daemon=True)
        self.nodes, self.client_name = nodes, name
        self.stopping = threading.Event()
        self.written = {}
        self.count = 0
        self.failure = None

    def run(self):
        client = Persistent(self.nodes, 0)
        try:
            while not self.stopping.is_set():
                key = f"{self.client_name}/{self.count % 500}"
                value = f"{self.count}:" + "x" * 200
                client.call("propose", "kv", "set", {"key": key, "value": value},
                            {"id": f"{self.client_name}-{self.count}", "timeout_ms": 3000})
                self.written[key] = value
                self.count += 1
        except Exception as e:  # reported by the main thread
            self.failure = e
        client.close()


def check(writers):
    for w in writers:
        if w.failure:
            raise w.failure


def state(node):
    status = node.status()
    return status and (status["last_applied"], status["state"]["hash"])


def agree(nodes):
    """All have applied the same, and their states have the same hash."""
    def same():
        states = [state(n) for n in nodes]
        return None not in states and len(set(states)) == 1
    wait_until(same, 30, "all nodes to hold the same state")


def log_bytes(node):
    """What the log takes on the disk, spare segments included."""
    total = 0
    for folder, _, files in os.walk(node.data):
        if os.path.basename(folder) != "snapshot":
            total += sum(os.path.getsize(os.path.join(folder, f)) for f in files)
    return total


def installs(node):
    with open(node.log, errors="replace") as f:
        return sum("snapshot installed" in line for line in f)


def write_more(writers, count):
    before = sum(w.count for w in writers)
    wait_until(lambda: check(writers) or sum(w.count for w in writers) >= before + count, 120,
               f"{count} writes")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("binary")
    p.add_argument("--writes", type=int, default=6000)
    args = p.parse_args()
    with Cluster(args.binary, extra=POLICY) as c:
        leader = c.wait_leader()
        client = Client(f"127.0.0.1:{leader.client}", 5.0)
        wait_until(lambda: leader.status()["state"]["entries"] > 0, 10, "the kv machine")
        client.close()
        writers = [Writer(c.nodes, f"w{i}") for i in range(4)]
        for w in writers:
            w.start()

        # Away for so long that the log has nothing for it.
        victim = next(n for n in c.nodes if n is not c.wait_leader())
        write_more(writers, 1000)
        at = victim.status()["last_index"]
        os.kill(victim.guardian_pid(), signal.SIGKILL)
        victim.process.wait()
        write_more(writers, args.writes // 2)
        leader = c.wait_leader(among=[n for n in c.nodes if n is not victim])
        wait_until(lambda: leader.status()["snapshot"]["log_begins"] > at + 1, 30,
                   "the leader to compact what the victim lacks")
        victim.start()
        wait_until(lambda: installs(victim) > 0, 60, "the victim to install a snapshot")

        # Killed again and again on the way.
        for _ in range(8):
            victim.kill()
            write_more(writers, 300)
        wait_until(lambda: victim.status(), 30, "the victim")
        write_more(writers, args.writes // 2)
        for w in writers:
            w.stopping.set()
        for w in writers:
            w.join(30)
        check(writers)
        agree(c.nodes)
        largest = max(log_bytes(n) for n in c.nodes)

        # All start from what they have saved.
        before = state(c.nodes[0])
        for n in c.nodes:
            assert n.stop() == 0, f"{n.name} did not stop well"
        for n in c.nodes:
            n.start()
        c.wait_leader()
        wait_until(lambda: all(n.status() for n in c.nodes), 30, "all nodes")
        agree(c.nodes)
        assert state(c.nodes[0])[0] >= before[0]
        for node in c.nodes:
            reader = Client(f"127.0.0.1:{node.client}", 5.0)
            for w in writers:
                for key, value in list(w.written.items())[::25]:
                    got = reader.call("query", "kv", "get", {"key": key}, {"read": "local"})
                    assert got["value"] == value, f"{node.name}: {key} is {got}, not {value[:20]}"
            reader.close()
            s = node.status()["snapshot"]
            assert s["index"] > 0 and s["log_begins"] > 1, f"{node.name}: {s}"
        total = sum(w.count for w in writers)
        bound = 10 * SEGMENT_BYTES
        assert largest <= bound, f"the log takes {largest} bytes, more than {bound}"
        print(f"snapshot: {total} writes, {installs(victim)} snapshots installed by {victim.name}; at most "
              f"{largest >> 10} KiB of log on a disk; all nodes hold the same, before and after a restart")


if __name__ == "__main__":
    main()
