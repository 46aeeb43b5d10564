#!/usr/bin/env python3
"""Nothing acknowledged is ever lost: SIGKILL, again and again, under load.

A real three-node cluster takes writes from several clients while a random node is killed with SIGKILL,
at least --kills times, half of them together with its guardian. Afterwards every acknowledged write
must be there once, and in the same order on all nodes.

Each client appends to a list of its own, one write at a time, with a key that makes a repetition
harmless (`id`): a write whose answer was lost is sent again, to another node if need be, until it is
answered. The lists are kept by a machine that is loaded for this test, and refuses an item that is not
the next of its client: a write that was applied twice, lost or reordered stands out.

    tests/real/kill9.py build/moonkeeper [--kills 100] [--seed 1]
"""
import argparse
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from msgpack_rpc import Client  # noqa: E402
from persistent import Persistent  # noqa: E402

MACHINE = """
return {
  name = "journal", version = 1,
  init = function(st) st.next = {}; st.order = {} end,
  apply = { add = function(st, a, meta)
    local expected = st.next[a.client] or 1
    if a.item ~= expected then
      error("client " .. a.client .. " wrote item " .. a.item .. " but " .. expected .. " was due")
    end
    st.next[a.client] = expected + 1
    st.order[#st.order + 1] = a.client .. ":" .. a.item
    return expected
  end },
  query = {
    next = function(st, a) return st.next[a.client] or 1 end,
    slice = function(st, a)
      local out = {}
      for i = a.from, a.to do out[#out + 1] = st.order[i] end
      return out
    end,
  },
}
"""


class Writer(threading.Thread):
    def __init__(self, cluster, name, stop):
        super().__init__(daemon=True)
        self.cluster, self.client_name, self.stopping = cluster, name, stop
        self.acknowledged = 0
        self.retries = 0
        self.failure = None

    def write(self, item):
        """Through any node, until it is answered."""
        client = Persistent(self.cluster.nodes, random.randrange(len(self.cluster.nodes)))
        answer = client.call("propose", "journal", "add", {"client": self.client_name, "item": item},
                             {"id": f"{self.client_name}-{item}", "timeout_ms": 2000})
        self.retries += client.retries
        client.close()
        return answer

    def run(self):
        try:
            while not self.stopping.is_set():
                answer = self.write(self.acknowledged + 1)
                if answer != self.acknowledged + 1:
                    raise AssertionError(f"item {self.acknowledged + 1} was answered {answer}")
                self.acknowledged += 1
        except Exception as e:  # reported by the main thread
            self.failure = e


def order_on(node):
    """The whole list as this node has it, without asking anyone else."""
    client = Client(f"127.0.0.1:{node.client}", 5.0)
    out, step = [], 2000
    while True:
        part = client.call("query", "journal", "slice",
                           {"from": len(out) + 1, "to": len(out) + step}, {"read": "local"},
                           timeout=10.0)
        out += part or []
        if not part or len(part) < step:
            client.close()
            return out


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("binary")
    p.add_argument("--kills", type=int, default=int(os.environ.get("MK_KILLS", "100")))
    p.add_argument("--seed", type=int, default=int(time.time()))
    args = p.parse_args()
    rng = random.Random(args.seed)
    print(f"kill9: {args.kills} kills, seed {args.seed}", flush=True)

    with Cluster(args.binary, extra="election_ms = { 150, 300 },") as c:
        leader = c.wait_leader()
        connection = Client(f"127.0.0.1:{leader.client}", 5.0)
        connection.call("load", MACHINE, timeout=10.0)
        connection.close()
        stop = threading.Event()
        writers = [Writer(c, f"c{i}", stop) for i in range(4)]
        for w in writers:
            w.start()

        for kill in range(args.kills):
            before = sum(w.acknowledged for w in writers)
            victim = rng.choice(c.nodes)
            both = rng.random() < 0.5
            if victim.kill(guardian=both) is None:
                raise AssertionError(f"{victim.name} had no process to kill")
            if both:
                victim.start()
            # The next kill comes when the cluster has moved on and the victim answers again: but
            # not always when it has caught up.
            wait_until(lambda: sum(w.acknowledged for w in writers) > before or
                       any(w.failure for w in writers), 30, f"progress after kill {kill + 1}")
            wait_until(lambda: victim.node_pid() and victim.status(), 30,
                       f"{victim.name}'s return after kill {kill + 1}")
            failed = [w.failure for w in writers if w.failure]
            if failed:
                raise failed[0]
            time.sleep(rng.random() * 0.05)  # so that kills fall at different moments of a write

        stop.set()
        for w in writers:
            w.join(30)
            if w.failure:
                raise w.failure
        total = sum(w.acknowledged for w in writers)
        for node in c.nodes:
            wait_until(lambda: len(order_on(node)) >= total, 30, f"{node.name} to catch up")
        orders = [order_on(node) for node in c.nodes]
        assert orders[0] == orders[1] == orders[2], "the nodes disagree about the order"
        for w in writers:
            items = [x for x in orders[0] if x.startswith(w.client_name + ":")]
            want = [f"{w.client_name}:{i + 1}" for i in range(w.acknowledged)]
            assert items[:len(want)] == want, f"{w.client_name}: acknowledged writes are missing"
            assert len(items) == len(set(items)), f"{w.client_name}: a write was applied twice"
        print(f"kill9: {total} acknowledged writes, {sum(w.retries for w in writers)} retries, "
              f"{args.kills} kills: every one is there, once, in the same order on all nodes")


if __name__ == "__main__":
    main()
