"""Real nodes on loopback, for tests and benchmarks: start, find the leader, kill, stop.

No sleeping until things probably happened: every wait polls for its condition, with a deadline.
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from msgpack_rpc import Client, RpcError


_reserved = []


def reserve_port(port=0):
    """Bind to that port, or to one that nobody has; OSError if somebody has it. It is this program's from now on:
    nodes, which listen with SO_REUSEADDR, get it, but nobody who asks for any port, nor a connection going out."""
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", port))
    except OSError:
        s.close()
        raise
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not before: who reserves it too must fail
    _reserved.append(s)
    return s.getsockname()[1]


def free_ports(count):
    return [reserve_port() for _ in range(count)]


def wait_until(condition, seconds, what):
    """The first true value of condition(). AssertionError when the time is over."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: did not happen within {seconds} s")
        time.sleep(0.002)


LOG_LINES = 25  # of each node, when a test has failed


class Node:
    def __init__(self, cluster, name, client, peer, http):
        self.cluster, self.name = cluster, name
        self.client, self.peer, self.http = client, peer, http
        self.data = os.path.join(cluster.folder, name)
        self.config = os.path.join(cluster.folder, name + ".lua")
        self.log = os.path.join(cluster.folder, name + ".log")
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.cluster.binary, "start", "-c", self.config, *self.cluster.flags], stdout=log, stderr=log)

    def guardian_pid(self):
        return self.process.pid

    def node_pid(self):
        """The guardian's child; None while there is none."""
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
                children = f.read().split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None

    def kill(self, guardian=False):
        """SIGKILL the node process, or both (the guardian first: it cannot say anything more)."""
        pid = self.node_pid()
        if guardian:
            os.kill(self.guardian_pid(), signal.SIGKILL)
        if pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if guardian:
            self.process.wait()
        return pid

    def stop(self, seconds=20):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def status(self, timeout=1.0):
        """The status map; None if it does not answer."""
        try:
            client = Client(f"127.0.0.1:{self.client}", timeout)
        except OSError:
            return None
        try:
            return client.call("status", timeout=timeout)
        except (OSError, RpcError):
            return None
        finally:
            client.close()

    def private_kib(self):
        """Private memory of the node and its guardian."""
        total = 0
        for pid in (self.guardian_pid(), self.node_pid()):
            with open(f"/proc/{pid}/smaps_rollup") as f:
                for line in f:
                    if line.startswith(("Private_Clean", "Private_Dirty")):
                        total += int(line.split()[1])
        return total


# Long enough for a busy machine to hold nobody up for the length of one. Whoever is after the timeouts themselves says
# which in `extra`.
ELECTION = "election_ms = { 500, 1000 },"


class Cluster:
    """Those of n beyond the first members wait until they are added, and are not started here.
    election: the timeouts, "" for those that a node has without any."""

    def __init__(self, binary, n=3, folder=None, extra="", apps=None, first=None, election=ELECTION):
        self.first = first or n
        self.binary = os.path.abspath(binary)
        self.folder = folder or tempfile.mkdtemp(prefix="moonkeeper-")
        ports = free_ports(3 * n)
        self.nodes = [
            Node(self, f"n{i + 1}", ports[3 * i], ports[3 * i + 1], ports[3 * i + 2])
            for i in range(n)]
        self.extra = extra
        self.election = election if n > 1 and "election_ms" not in extra else ""
        self.flags = []  # of `moonkeeper start`
        self.set_apps(apps or "")

    def set_apps(self, apps):
        """Write the configurations anew, with these applications (the inside of a Lua list)."""
        members = ", ".join(
            f'{{ id = "{x.name}", peer = "127.0.0.1:{x.peer}", client = "127.0.0.1:{x.client}"'
            f'{", joins = true" if i >= self.first else ""} }}'
            for i, x in enumerate(self.nodes))
        for x in self.nodes:
            with open(x.config, "w") as f:
                f.write(f'return {{ cluster = "test", id = "{x.name}", members = {{ {members} }},\n'
                        f'  client = "127.0.0.1:{x.client}", http = "127.0.0.1:{x.http}",\n'
                        f'  data_dir = "{x.data}", {self.election} {self.extra}\n'
                        f'  apps = {{ {apps} }} }}\n')

    def __enter__(self):
        """All are started, and answer: by then each listens on all its ports."""
        try:
            for x in self.nodes[:self.first]:
                x.start()
            for x in self.nodes[:self.first]:
                wait_until(x.status, 20, f"an answer of {x.name}")
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *error):
        for x in self.nodes:
            if x.process is not None and x.process.poll() is None:
                x.process.send_signal(signal.SIGKILL)
        for x in self.nodes:
            if x.process is not None:
                x.process.wait()
        if error[0] is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.show_logs()
            print(f"left for inspection: {self.folder}", file=sys.stderr, flush=True)

    def show_logs(self):
        """What the nodes said last: all that is left of a test that failed elsewhere."""
        for x in self.nodes:
            if os.path.exists(x.log):
                with open(x.log, encoding="utf-8", errors="replace") as f:
                    last = f.readlines()[-LOG_LINES:]
                print(f"\n--- the last lines of {x.name}'s log:\n{''.join(last)}", file=sys.stderr, flush=True)

    def leader(self, among=None):
        """The node that says it leads, in the highest term; None if none does."""
        best = None
        for x in among or self.nodes:
            status = x.status()
            if status and status["role"] == "leader" and (not best or status["term"] > best[1]):
                best = (x, status["term"])
        return best[0] if best else None

    def wait_leader(self, seconds=10, among=None):
        return wait_until(lambda: self.leader(among), seconds, "a leader")

    def wait_settled(self, seconds=20):
        """The leader, whom all follow, and who knows that all have what is committed."""
        def settled():
            seen = [x.status() for x in self.nodes]
            leader = self.leader()
            status = leader and leader.status()
            return (status and all(s and (s["leader"], s["term"]) == (leader.name, status["term"]) for s in seen) and
                    all(peer["match"] and peer["match"] >= status["commit_index"] for peer in status["peers"]) and leader)
        return wait_until(settled, seconds, "all nodes to follow one leader")
