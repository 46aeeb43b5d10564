#!/usr/bin/env python3
"""A server joins a running cluster, votes, and leaves again; and what people read meanwhile.

    tests/real/members.py build/moonkeeper
"""
import contextlib
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from msgpack_rpc import Client, RpcError  # noqa: E402


def cli(cluster, *arguments, endpoint):
    """(exit code, stdout, stderr) of the command line tool."""
    done = subprocess.run(
        [cluster.binary, *arguments, "--endpoints", f"127.0.0.1:{endpoint.client}", "-o", "json"],
        capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


def members(cluster, node):
    code, out, _ = cli(cluster, "members", "list", endpoint=node)
    return {m["id"]: m["voter"] for m in json.loads(out)} if code == 0 else None


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def log_of(node):
    with open(node.log) as log:
        return log.read()


def main():
    with Cluster(sys.argv[1], 4, first=3) as cluster:
        leader = cluster.wait_leader()
        follower = next(x for x in cluster.nodes[:3] if x is not leader)
        new = cluster.nodes[3]
        check(cli(cluster, "kv", "put", "a", "1", endpoint=leader)[0] == 0, "a write")

        code, _, err = cli(cluster, "members", "promote", "n4", endpoint=leader)
        check(code == 1 and "n4 is no member; did you mean" in err, f"promoting a stranger: {code} {err}")
        code, _, err = cli(cluster, "members", "add", "n4", endpoint=leader)
        check(code == 2 and "ADDRESS" in err, f"an address is missing: {code} {err}")

        code, _, err = cli(cluster, "members", "add", "n4", "somewhere", endpoint=leader)
        check(code == 2 and "host:port" in err, f"that is no address: {code} {err}")

        # So it is for those who do not ask by the command line, on any node.
        for node, address in ((leader, "somewhere"), (follower, "somewhere"), (leader, "127.0.0.1:0")):
            with contextlib.closing(Client(f"127.0.0.1:{node.client}")) as client:
                try:
                    check(False, f"{address} was taken: {client.call('members_add', 'n4', address, 5000)}")
                except RpcError as e:
                    check(e.code == "invalid" and address in e.message, f"adding {address}: {e}")

        # Started first, it waits; the order goes to a follower, which passes it on.
        new.start()
        wait_until(lambda: new.status(), 10, "the new node is up")
        check(new.status()["role"] == "learner", "it does not stand for election")
        code, out, err = cli(cluster, "members", "add", "n4", f"127.0.0.1:{new.peer}", endpoint=follower)
        check(code == 0 and len(json.loads(out)) == 4, f"adding: {code} {out} {err}")
        code, out, err = cli(cluster, "members", "promote", "n4", endpoint=follower)
        check(code == 0, f"promoting: {code} {out} {err}")
        wait_until(lambda: members(cluster, new) == {"n1": True, "n2": True, "n3": True, "n4": True},
                   10, "the new node knows that it votes")
        code, out, _ = cli(cluster, "kv", "get", "a", endpoint=new)
        check(code == 0 and "1" in out, f"it has the data: {code} {out}")
        check(cli(cluster, "transfer", "n4", endpoint=leader)[0] == 0, "it takes over")
        wait_until(lambda: cluster.leader() is new, 10, "n4 leads")

        # The leader removes itself: it ends with the reason, and again when it is started.
        code, _, err = cli(cluster, "members", "remove", "n4", endpoint=follower)
        check(code in (0, 5), f"removing the leader: {code} {err}")
        wait_until(lambda: members(cluster, follower) == {"n1": True, "n2": True, "n3": True},
                   10, "n4 is gone")
        cluster.wait_leader(among=cluster.nodes[:3])
        check(cli(cluster, "kv", "put", "a", "2", endpoint=follower)[0] == 0, "the others go on")
        wait_until(lambda: new.process.poll() is not None, 20, "the removed node ends")
        check("removed from the cluster" in log_of(new), "and says why")
        new.start()
        wait_until(lambda: new.process.poll() is not None, 20, "and again when it is started")

        # Under its id it may be had back, with what it was.
        code, _, err = cli(cluster, "members", "add", "n4", f"127.0.0.1:{new.peer}", endpoint=follower)
        check(code == 0, f"adding it again: {code} {err}")
        new.start()
        check(cli(cluster, "members", "promote", "n4", endpoint=follower)[0] == 0, "promoting it again")
        wait_until(lambda: (new.status() or {}).get("role") == "follower", 10, "it follows")
    print("members: ok")


if __name__ == "__main__":
    main()
