#!/usr/bin/env python3
"""moonkeeper beside etcd, in one run on one machine: throughput, latency, failover, memory, start.

Both: three nodes on loopback, data on the same disk, fsync on, 256-byte values, default settings unless
a row says otherwise. etcd is loaded through its own gRPC Put with nghttp2's h2load, moonkeeper with
bench_load (one thread). Both clusters are up and loaded in turn, so that a machine whose speed drifts
drifts for both; the figures are medians of the turns, the ratios medians of the ratios of each pair.

    tests/bench/compare.py --build build [--quick] [--json]
"""
import argparse
import base64
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, free_ports, wait_until  # noqa: E402
from msgpack_rpc import Client, RpcError  # noqa: E402

VALUE = b"v" * 256


def our_cluster(build):
    return Cluster(os.path.join(build, "moonkeeper"), election="")


def say(text):
    print(text, file=sys.stderr, flush=True)


def private_kib(pid):
    total = 0
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            if line.startswith(("Private_Clean", "Private_Dirty")):
                total += int(line.split()[1])
    return total


class Etcd:
    """Three etcd processes. election: None for the defaults, or (heartbeat_ms, election_ms)."""

    def __init__(self, election=None):
        self.folder = tempfile.mkdtemp(prefix="etcd-")
        ports = free_ports(6)
        self.clients, peers = ports[:3], ports[3:]
        joined = ",".join(f"e{i}=http://127.0.0.1:{p}" for i, p in enumerate(peers))
        self.commands = []
        for i in range(3):
            command = [
                "etcd", "--name", f"e{i}", "--data-dir", f"{self.folder}/e{i}",
                "--listen-client-urls", f"http://127.0.0.1:{self.clients[i]}",
                "--advertise-client-urls", f"http://127.0.0.1:{self.clients[i]}",
                "--listen-peer-urls", f"http://127.0.0.1:{peers[i]}",
                "--initial-advertise-peer-urls", f"http://127.0.0.1:{peers[i]}",
                "--initial-cluster", joined, "--initial-cluster-state", "new",
                "--log-level", "error"]
            if election:
                command += ["--heartbeat-interval", str(election[0]),
                            "--election-timeout", str(election[1])]
            self.commands.append(command)
        self.processes = [None] * 3

    def start(self, i):
        self.processes[i] = subprocess.Popen(self.commands[i], stdout=subprocess.DEVNULL,
                                             stderr=subprocess.DEVNULL)

    def __enter__(self):
        for i in range(3):
            self.start(i)
        return self

    def __exit__(self, *_):
        for p in self.processes:
            p.kill()
            p.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, i, path, body, timeout=2.0):
        """The JSON gateway; None if it does not answer well."""
        c = http.client.HTTPConnection("127.0.0.1", self.clients[i], timeout=timeout)
        try:
            c.request("POST", path, json.dumps(body))
            r = c.getresponse()
            data = r.read()
            return json.loads(data) if r.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            c.close()

    def put(self, i, timeout=2.0):
        return self.ask(i, "/v3/kv/put", {"key": base64.b64encode(b"probe").decode(),
                                          "value": base64.b64encode(VALUE).decode()}, timeout)

    def leader(self):
        for i in range(3):
            if self.processes[i] is None or self.processes[i].poll() is not None:
                continue
            s = self.ask(i, "/v3/maintenance/status", {})
            if s and s.get("leader") and s["leader"] == s["header"]["member_id"]:
                return i
        return None

    def load(self, clients, streams, seconds):
        """Requests per second that were written, mean latency in µs."""
        i = wait_until(lambda: (self.leader(),) if self.leader() is not None else None, 20,
                       "etcd's leader")[0]
        key = b"bench/000001"
        message = (b"\x0a" + bytes([len(key)]) + key + b"\x12" + b"\x80\x02" + VALUE)
        path = os.path.join(self.folder, "put.bin")
        with open(path, "wb") as f:
            f.write(b"\0" + struct.pack(">I", len(message)) + message)
        before = self.revision(i)
        out = subprocess.run(
            ["h2load", "-D", str(seconds), "-c", str(clients), "-m", str(streams), "-t", "1", "-d", path,
             "-H", "content-type: application/grpc", "-H", "te: trailers",
             f"http://127.0.0.1:{self.clients[i]}/etcdserverpb.KV/Put"],
            capture_output=True, text=True, check=True).stdout
        written = self.revision(i) - before
        ops = written / seconds
        mean = re.search(r"time for request:\s+(\S+)\s+(\S+)\s+(\S+)", out).group(3)
        return ops, micros(mean)

    def revision(self, i):
        return int(self.ask(i, "/v3/maintenance/status", {})["header"]["revision"])


def micros(text):
    number, unit = re.match(r"([0-9.]+)(\w+)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def ours_load(build, endpoint, connections, depth, seconds):
    out = subprocess.run(
        [os.path.join(build, "tests/bench/bench_load"), "--endpoint", endpoint, "--connections",
         str(connections), "--depth", str(depth), "--seconds", str(seconds), "--value-bytes", "256"],
        capture_output=True, text=True, check=True).stdout
    result = json.loads(out)
    if result["errors"]:
        say(f"  {result['errors']} errors: {result['first_error']}")
    return result


def ready_write(node, seconds=20):
    """Wait until a write through this node is accepted; its time of acceptance."""
    def attempt():
        try:
            client = Client(f"127.0.0.1:{node.client}", 1.0)
            client.call("propose", "kv", "set", {"key": "probe", "value": VALUE})
            client.close()
            return time.monotonic()
        except (OSError, RpcError):
            return None
    return wait_until(attempt, seconds, "a write")


def pairs(rounds, ours, theirs):
    """Measure both in turn; (median of ours, of theirs, of the ratios of each pair)."""
    measured = []
    for i in range(rounds):
        # The order alternates too: whoever comes second has no advantage in sum.
        if i % 2 == 0:
            a, b = ours(), theirs()
        else:
            b, a = theirs(), ours()
        measured.append((a, b))
        say(f"  pair {i + 1}: {a:.0f} beside {b:.0f}, ratio {a / b:.2f}")
    median = statistics.median
    return (median(a for a, _ in measured), median(b for _, b in measured),
            median(a / b for a, b in measured))


def best_shape(shapes, load):
    """The shape of load that gives the most, found by trying each: nobody loses for want of it."""
    return max(shapes, key=load)


def throughput(build, rounds, seconds):
    with our_cluster(build) as c, Etcd() as e:
        leader = c.wait_leader()
        ready_write(leader)
        endpoint = f"127.0.0.1:{leader.client}"
        our_shape = best_shape(
            [(16, 64), (16, 256), (32, 256)],
            lambda shape: ours_load(build, endpoint, *shape, seconds)["ops_per_s"])
        etcd_shape = best_shape([(100, 10), (100, 40), (200, 40)],
                                lambda shape: e.load(*shape, seconds)[0])
        say(f"  connections x requests in flight on each: {our_shape} beside {etcd_shape}")
        ops, etcd_ops, ratio = pairs(
            rounds, lambda: ours_load(build, endpoint, *our_shape, seconds)["ops_per_s"],
            lambda: e.load(*etcd_shape, seconds)[0])
        us, etcd_us, us_ratio = pairs(
            rounds, lambda: ours_load(build, endpoint, 1, 1, seconds)["mean_us"],
            lambda: e.load(1, 1, seconds)[1])
    return {"throughput_ratio": round(ratio, 2), "ops_per_s": round(ops),
            "etcd_ops_per_s": round(etcd_ops), "latency_ratio": round(us_ratio, 3),
            "latency_us": round(us), "etcd_latency_us": round(etcd_us)}


def first_write(clients, began):
    """Time from began until one of these connections, each with one write on its way, succeeds."""
    pending = {}
    for c in clients:
        pending[c] = c.send("propose", "kv", "set", {"key": "probe", "value": VALUE},
                            {"timeout_ms": 10000})
    while True:
        for c, msgid in pending.items():
            try:
                c.wait(msgid, 0.0005)
                return (time.monotonic() - began) * 1000
            except TimeoutError:
                continue
            except BlockingIOError:
                continue


def our_failover(build, trials, host):
    """Median ms from SIGKILL of the leader to the next accepted write, through a follower."""
    times = []
    with our_cluster(build) as c:
        for _ in range(trials):
            leader = c.wait_leader()
            others = [x for x in c.nodes if x is not leader]
            for x in c.nodes:
                ready_write(x)
            clients = [Client(f"127.0.0.1:{x.client}") for x in others]
            began = time.monotonic()
            leader.kill(guardian=host)
            times.append(first_write(clients, began))
            for client in clients:
                client.close()
            if host:
                leader.start()
            wait_until(lambda: (leader.status() or {}).get("leader"), 20, "the killed node's return")
    return statistics.median(times), times


def etcd_failover(trials, election):
    times = []
    with Etcd(election) as e:
        for _ in range(trials):
            i = wait_until(lambda: (e.leader(),) if e.leader() is not None else None, 20, "a leader")[0]
            others = [j for j in range(3) if j != i]
            for j in range(3):
                wait_until(lambda: e.put(j), 20, "a write")
            began = time.monotonic()
            e.processes[i].kill()
            turn = 0
            while not e.put(others[turn % 2], timeout=0.05):
                turn += 1
            times.append((time.monotonic() - began) * 1000)
            e.processes[i].wait()
            e.start(i)
            wait_until(lambda: e.put(i), 20, "the killed node's return")
    return statistics.median(times)


def idle_memory(build):
    with our_cluster(build) as c:
        c.wait_leader()
        for x in c.nodes:
            ready_write(x)
        time.sleep(5)  # idle is what is measured
        ours = max(x.private_kib() for x in c.nodes) / 1024
    with Etcd() as e:
        for i in range(3):
            wait_until(lambda: e.put(i), 20, "a write")
        time.sleep(5)
        theirs = max(private_kib(p.pid) for p in e.processes) / 1024
    return ours, theirs


def cold_start(build, trials):
    times = []
    for _ in range(trials):
        began = time.monotonic()
        with our_cluster(build) as c:
            times.append((ready_write(c.nodes[0]) - began) * 1000)
    return statistics.median(times)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default="build")
    p.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    p.add_argument("--json", action="store_true", help="end with one JSON line")
    p.add_argument("--only", help="throughput, failover, memory or start")
    args = p.parse_args()
    rounds, seconds, trials = (4, 2, 5) if args.quick else (12, 3, 30)
    wanted = lambda part: args.only in (None, part)  # noqa: E731
    r = {}
    if wanted("throughput"):
        say("throughput at saturation, latency at one client")
        r.update(throughput(args.build, rounds, seconds))
    if wanted("failover"):
        say("failover: SIGKILL of the leader to the next accepted write")
        median, times = our_failover(args.build, trials, host=False)
        r["failover_ms_median"] = round(median, 1)
        r["failover_ms_max"] = round(max(times), 1)
        r["host_failover_ms_median"] = round(our_failover(args.build, trials, host=True)[0], 1)
        r["etcd_failover_ms_median"] = round(etcd_failover(min(trials, 10), None), 1)
        r["etcd_tuned_failover_ms_median"] = round(etcd_failover(min(trials, 10), (10, 100)), 1)
    if wanted("memory"):
        say("private memory when idle")
        ours, theirs = idle_memory(args.build)
        r["idle_rss_mb"], r["etcd_idle_rss_mb"] = round(ours, 2), round(theirs, 2)
    if wanted("start"):
        say("cold start to the first accepted write")
        r["cold_start_ms"] = round(cold_start(args.build, 5), 1)
    for key, value in r.items():
        say(f"  {key:32} {value}")
    if args.json:
        print(json.dumps(r))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
