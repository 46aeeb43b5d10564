#!/usr/bin/env python3
"""How long followers hear nothing from their leader while a large snapshot is taken, and while one is sent.

Three real nodes on loopback, a state of --megabytes, clients that write throughout. Measured: the longest
time between two appends of the leader, as each follower has it (`leader_silence_max_us` in its status), while
the leader saves a snapshot, and while it sends one to a follower whose log begins too late. The aim is twice
the heartbeat interval. One line of JSON:

    tests/bench/snapshot_gap.py build/moonkeeper [--megabytes 200]
"""
import argparse
import json
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from msgpack_rpc import Client  # noqa: E402
from persistent import Persistent  # noqa: E402

HEARTBEAT_MS = 50
CONFIG = (f"heartbeat_ms = {HEARTBEAT_MS}, election_ms = {{ 1000, 2000 }},\n"
          "  snapshot = { entries = 0, bytes = 0, keep_entries = 0, hold_bytes = 0 },")
VALUE = "v" * 4000


class Load(threading.Thread):
    def __init__(self, nodes):
        super().__init__(daemon=True)
        self.nodes, self.stopping, self.count = nodes, threading.Event(), 0

    def run(self):
        client = Persistent(self.nodes, 0)
        while not self.stopping.is_set():
            client.call("propose", "kv", "set", {"key": f"load/{self.count % 1000}", "value": VALUE}, {})
            self.count += 1
        client.close()


def fill(leader, megabytes):
    count = megabytes * 1000000 // len(VALUE)
    threads = []

    def part(first):
        client = Client(f"127.0.0.1:{leader.client}", 10.0)
        for i in range(first, count, 8):
            client.call("propose", "kv", "set", {"key": f"fill/{i}", "value": VALUE}, timeout=20.0)
        client.close()
    for first in range(8):
        threads.append(threading.Thread(target=part, args=(first,)))
        threads[-1].start()
    for t in threads:
        t.join()


def new_term(c):
    """The longest silence is that of a term: each measurement begins with one."""
    before = c.wait_leader()
    client = Client(f"127.0.0.1:{before.client}", 20.0)
    client.call("transfer", None, 10000, timeout=20.0)
    client.close()
    leader = wait_until(lambda: (lambda x: x if x and x is not before else None)(c.leader()), 20, "a new leader")
    wait_until(lambda: all(n.status() and n.status()["leader"] == leader.name for n in c.nodes), 20, "agreement")
    return leader


def silence_ms(nodes):
    return max(n.status(5.0)["leader_silence_max_us"] for n in nodes) / 1000


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("binary")
    p.add_argument("--megabytes", type=int, default=200)
    args = p.parse_args()
    with Cluster(args.binary, extra=CONFIG) as c:
        leader = c.wait_leader()
        fill(leader, args.megabytes)
        load = Load(c.nodes)
        load.start()
        out = {"heartbeat_ms": HEARTBEAT_MS, "state_bytes": leader.status(5.0)["state"]["bytes"]}

        leader = new_term(c)
        followers = [n for n in c.nodes if n is not leader]
        time.sleep(5)  # a span of load alone, to compare with
        out["load_only_ms"] = silence_ms(followers)

        leader = new_term(c)
        followers = [n for n in c.nodes if n is not leader]
        client = Client(f"127.0.0.1:{leader.client}", 120.0)
        began = time.monotonic()
        client.call("snapshot", 120000, timeout=120.0)
        out["save_s"] = round(time.monotonic() - began, 2)
        out["saving_ms"] = silence_ms(followers)

        victim, other = followers
        at = victim.status(5.0)["last_index"]
        os.kill(victim.guardian_pid(), signal.SIGKILL)
        victim.process.wait()
        before = load.count
        wait_until(lambda: load.count > before + 50, 60, "writes without the victim")
        client.call("snapshot", 120000, timeout=120.0)
        wait_until(lambda: leader.status(5.0)["snapshot"]["log_begins"] > at + 1, 30, "compaction")
        began = time.monotonic()
        victim.start()
        wait_until(lambda: "snapshot installed" in open(victim.log, errors="replace").read(), 300,
                   "the victim to install the snapshot")
        out["transfer_s"] = round(time.monotonic() - began, 2)
        out["sending_ms"] = silence_ms([victim, other])
        out["other_follower_ms"] = silence_ms([other])
        load.stopping.set()
        load.join(30)
        client.close()
        out["times_interval"] = round(max(out["saving_ms"], out["sending_ms"]) / HEARTBEAT_MS, 2)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
