#!/usr/bin/env python3
"""`moonkeeper lock` and `moonkeeper lead` on real processes: the program runs under what is held and no longer,
whatever is done to the one that holds it, to the node, or to the cluster.

A worker, and a child of its that has left its session, write, every two milliseconds, a line with the machine's one
monotonic clock into a file that all share: the fencing token, the process, the time. Lines tell who worked when.
"""
import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, free_ports, wait_until  # noqa: E402
from command import BINARY, environment, failure, main  # noqa: E402
from msgpack_rpc import Client, Incomplete, pack, unpack_first  # noqa: E402

LOST, NO_LEADER, UNREACHABLE, CONFLICT = 7, 3, 4, 6
# The program is killed at the end of what is held, and that is sure to be before it can be another's: by a tenth of
# the ttl, and by 10 ms and a tenth of a lease. The overlap that is allowed is none; a machine that is busy delays
# lines, it does not hurry them.

WORKER = """
import os, signal, sys, time
token = os.environ["MOONKEEPER_FENCE"]
if os.fork() == 0:
    os.setsid()
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
patience = float(sys.argv[2]) if len(sys.argv) > 2 else 0
while not (stopping and patience >= 0):
    now = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
    os.write(fd, b"%s %d %.3f\\n" % (token.encode(), os.getpid(), now))
    time.sleep(0.002)
time.sleep(patience)
os.write(fd, b"%s stopped %.3f\\n" % (token.encode(), time.clock_gettime(time.CLOCK_BOOTTIME) * 1000))
"""
REFUSES = "-1"  # as patience: SIGTERM is not listened to


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class FullNode:
    """Answers all requests as a node does whose disk is full."""
    ERROR = {"code": "no_space", "message": "the disk of this node is full; another node may have room"}

    def __enter__(self):
        self.asked = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.listener.close()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                self.refuse(self.listener.accept()[0])

    def refuse(self, client):
        data = b""
        with client, contextlib.suppress(ConnectionError):
            while more := client.recv(1 << 16):
                data += more
                with contextlib.suppress(Incomplete):
                    (_, msgid, _, _), used = unpack_first(data)
                    data = data[used:]
                    self.asked += 1
                    client.sendall(pack([1, msgid, self.ERROR, None]))


class HoldTest(unittest.TestCase):
    ELECTION_MS = "150, 300"

    def setUp(self):
        self.started = []
        self.cluster = Cluster(BINARY, extra=f"election_ms = {{ {self.ELECTION_MS} }},")
        self.cluster.__enter__()
        self.worker = os.path.join(self.cluster.folder, "worker.py")
        self.path = os.path.join(self.cluster.folder, "lines")
        with open(self.worker, "w") as file:
            file.write(WORKER)
        self.all = ",".join(f"127.0.0.1:{node.client}" for node in self.cluster.nodes)
        self.leader = self.cluster.wait_leader()

    def tearDown(self):
        error = failure(self)
        for process in self.started:
            process.kill()
            code = process.wait()
            if error != (None, None, None) and not process.stderr.closed:
                print(f"\n{' '.join(process.args[3:])}: {code}, {process.stderr.read()}", file=sys.stderr)
            process.stderr.close()
        self.cluster.__exit__(*error)

    def begin(self, *args, endpoints=None, **kwargs):
        """A moonkeeper process, beside this one."""
        process = subprocess.Popen([BINARY, "-e", endpoints or self.all, *args], env=environment(),
                                   stderr=subprocess.PIPE, text=True, **kwargs)
        self.started.append(process)
        return process

    def begin_work(self, verb, *patience, endpoints=None):
        return self.begin(*verb, "--", sys.executable, self.worker, self.path, *patience, endpoints=endpoints)

    def run_to_end(self, *args, **kwargs):
        done = subprocess.run([BINARY, "-e", self.all, *args], env=environment(), text=True, timeout=60,
                              capture_output=True, **kwargs)
        return done.returncode, done.stdout, done.stderr

    def lines(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path) as file:
            return [line.split() for line in file if line.endswith("\n")]

    def working(self):
        return [(int(token), int(pid), float(at)) for token, pid, at in self.lines() if pid != "stopped"]

    def family(self, other_than=()):
        """Token and process ids of a worker of which both processes have written."""
        def look():
            seen = {}
            for token, pid, _ in self.working():
                seen.setdefault(token, set()).add(pid)
            return next(((token, pids) for token, pids in seen.items()
                         if token not in other_than and len(pids) == 2), None)
        return wait_until(look, 30, "a worker and its child")

    def check_apart(self, count):
        spans = {}
        for token, _, at in self.working():
            first, last = spans.get(token, (at, at))
            spans[token] = (min(first, at), max(last, at))
        spans = sorted(spans.items())
        self.assertEqual(len(spans), count, spans)
        for (_, (_, last)), (token, (first, _)) in zip(spans, spans[1:]):
            print(f"\n    {first - last:.1f} ms without a worker before {token}", end="", file=sys.stderr)
            self.assertLess(last, first, f"the worker of {token} began too early: {spans}")


class LockTest(HoldTest):
    LOCK = ("lock", "job", "--ttl", "2s")

    def test_the_program_gets_the_token_and_its_code_is_passed_on(self):
        script = "echo $MOONKEEPER_LOCK ${MOONKEEPER_FENCE:-none}; cat; exit 5"
        code, out, _ = self.run_to_end("lock", "job", "--", "sh", "-c", script, input="from stdin")
        self.assertEqual(code, 5)
        first, rest = out.split("\n", 1)
        self.assertRegex(first, "^job [0-9]+$")
        self.assertEqual(rest, "from stdin")
        self.assertEqual(self.run_to_end("lock", "job", "--", "sh", "-c", "kill -KILL $$")[0], 128 + 9)
        code, _, err = self.run_to_end("lock", "job", "--", "no-such-program")
        self.assertEqual(code, 127)
        self.assertIn("cannot run no-such-program", err)
        self.assertEqual(self.run_to_end("kv", "list", "lock/", "-o", "simple")[1], "", "all were given back")

    def test_who_does_not_want_to_wait_is_told_who_has_it(self):
        holder = self.begin_work(self.LOCK)
        self.family()
        for wait in "0", "200ms":
            code, _, err = self.run_to_end("lock", "job", "--wait", wait, "--", "true")
            self.assertEqual(code, CONFLICT)
            self.assertIn(f"process {holder.pid}", err)
        self.assertEqual(len(self.run_to_end("kv", "list", "lock/", "-o", "simple")[1].split()), 1)

    def test_who_does_not_want_to_wait_does_not_wait_for_nodes_either(self):
        dead = ",".join(f"127.0.0.1:{port}" for port in free_ports(3))
        process = self.begin("lock", "job", "--wait", "300ms", "--timeout", "1h", "--", "true", endpoints=dead)
        self.assertEqual(process.wait(60), UNREACHABLE)

    def test_without_a_leader_there_is_no_lock(self):
        for node in self.cluster.nodes[1:]:
            node.kill(guardian=True)
        # Before, it would send on what it is asked: whether that was committed nobody could say.
        wait_until(lambda: (self.cluster.nodes[0].status() or {"leader": "?"})["leader"] in (None, ""), 10, "no leader")
        for flags in (("--wait", "0"), ("--wait", "700ms"), ("--timeout", "900ms")):
            process = self.begin("lock", "job", *flags, "--", "true",
                                 endpoints=f"127.0.0.1:{self.cluster.nodes[0].client}")
            self.assertEqual(process.wait(30), NO_LEADER, f"{flags}: {process.stderr.read()}")

    def test_it_is_handed_on_to_who_waits(self):
        """Beside other work of the cluster, too: prints how long it takes."""
        took = []
        for busy in False, True:
            with self.writers(busy):
                holder = self.begin("lock", "job", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                token = int(holder.stdout.readline())
                for _ in range(5):
                    before, next_one = holder, self.begin("lock", "job", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                    wait_until(lambda: len(self.run_to_end("kv", "list", "lock/", "-o", "simple")[1].split()) == 2,
                               20, "the next one's ticket")
                    released = time.monotonic()
                    before.stdin.close()
                    given = int(next_one.stdout.readline())
                    took.append((time.monotonic() - released) * 1000)
                    self.assertGreater(given, token)
                    self.assertEqual(before.wait(20), 0)
                    before.stdout.close()
                    holder, token = next_one, given
                holder.stdin.close()
                self.assertEqual(holder.wait(20), 0)
                holder.stdout.close()
        print("\n    handed on after", ", ".join(f"{ms:.1f}" for ms in took[:5]), "ms; in a busy cluster",
              ", ".join(f"{ms:.1f}" for ms in took[5:]), "ms", end="", file=sys.stderr)

    @contextlib.contextmanager
    def writers(self, busy):
        over = threading.Event()

        def write():
            client = Client(f"127.0.0.1:{self.leader.client}")
            while not over.is_set():
                client.call("propose", "kv", "set", {"key": "busy", "value": 1})
            client.close()
        threads = [threading.Thread(target=write) for _ in range(2 if busy else 0)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def test_without_a_program_it_is_held_until_stdin_ends(self):
        holder = self.begin("lock", "job", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        token = int(holder.stdout.readline())
        self.assertEqual(self.run_to_end("lock", "job", "--wait", "0", "--", "true")[0], CONFLICT)
        holder.stdin.close()
        self.assertEqual(holder.wait(10), 0)
        holder.stdout.close()
        code, out, _ = self.run_to_end("lock", "job", "--", "sh", "-c", "echo $MOONKEEPER_FENCE")
        self.assertEqual(code, 0)
        self.assertGreater(int(out), token)

    def test_each_of_the_endpoints_is_tried(self):
        dead = [f"127.0.0.1:{port}" for port in free_ports(3)]
        alive = f"127.0.0.1:{self.leader.client}"
        for place in range(4):
            endpoints = ",".join(dead[:place] + [alive] + dead[place:])
            process = self.begin("lock", "job", "--timeout", "10s", "--", "true", endpoints=endpoints)
            self.assertEqual(process.wait(20), 0, endpoints)

    def test_a_node_whose_disk_is_full_is_not_the_last_to_be_asked(self):
        with FullNode() as full:
            endpoints = f"{full.address},127.0.0.1:{self.leader.client}"
            for args in ("kv", "put", "k", "v"), ("kv", "get", "k"), ("lock", "job", "--timeout", "10s", "--", "true"):
                asked = full.asked
                process = self.begin(*args, endpoints=endpoints, stdout=subprocess.DEVNULL)
                self.assertEqual(process.wait(20), 0, args)
                self.assertGreater(full.asked, asked, args)
            process = self.begin("snapshot", "save", endpoints=endpoints)  # is wanted of that one
            self.assertEqual(process.wait(20), 1)
            self.assertIn("the disk of this node is full", process.stderr.read())
            process = self.begin("kv", "put", "k", "v", endpoints=full.address)
            self.assertEqual(process.wait(20), 1)
            self.assertIn("make room there", process.stderr.read())

    def test_a_node_that_dies_before_it_answers_is_asked_in_vain_for_reads_alone(self):
        self.assertEqual(self.begin("kv", "put", "k", "v", stdout=subprocess.DEVNULL).wait(20), 0)
        with socket.create_server(("127.0.0.1", 0)) as dying:
            def take_and_die():
                while True:
                    try:
                        client, _ = dying.accept()
                    except OSError:
                        return
                    client.recv(1)
                    client.close()
            threading.Thread(target=take_and_die, daemon=True).start()
            endpoints = f"127.0.0.1:{dying.getsockname()[1]},127.0.0.1:{self.leader.client}"
            for args, code in (("put", "k", "v"), 5), (("get", "k"), 0), (("list",), 0):
                process = self.begin("kv", *args, endpoints=endpoints, stdout=subprocess.DEVNULL)
                self.assertEqual(process.wait(20), code, args)
            dying.shutdown(socket.SHUT_RDWR)

    def test_one_after_the_other_while_leaders_die(self):
        workers = [self.begin_work(self.LOCK) for _ in range(4)]
        tokens = []
        for round_ in range(4):
            token, _ = self.family(tokens)
            tokens.append(token)
            if round_ % 2 == 1:
                leader = self.cluster.wait_leader()
                leader.kill(guardian=False)
                self.cluster.wait_leader()
            running = next(w for w in workers if any(True for p in self.children_of(w.pid)))
            running.send_signal(signal.SIGTERM)
            self.assertEqual(running.wait(20), 0, "the worker listens to SIGTERM and ends with 0")
            workers.remove(running)
        self.check_apart(4)

    @staticmethod
    def children_of(pid):
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]

    def test_a_holder_that_is_stopped_has_lost_it_when_it_goes_on(self):
        holder = self.begin_work(self.LOCK, REFUSES)
        token, pids = self.family()
        holder.send_signal(signal.SIGSTOP)
        next_one = self.begin_work(self.LOCK)
        self.family({token})
        self.assertFalse(any(is_alive(pid) for pid in pids))
        holder.send_signal(signal.SIGCONT)
        self.assertEqual(holder.wait(10), LOST)
        self.assertIn("lost the lock job", holder.stderr.read())
        self.assertIsNone(next_one.poll())
        self.check_apart(2)

    def test_what_ran_under_a_holder_that_is_killed_is_killed_at_once(self):
        holder = self.begin_work(("lock", "job", "--ttl", "60s"), REFUSES)
        _, pids = self.family()
        holder.kill()
        killed = time.monotonic()
        wait_until(lambda: not any(is_alive(pid) for pid in pids), 10, "the end of the program")
        self.assertLess(time.monotonic() - killed, 5, "not by the end of its ttl")

    def test_a_holder_that_is_cut_off_ends_its_program_in_time(self):
        holder = self.begin_work(self.LOCK, REFUSES)
        token, pids = self.family()
        for node in self.cluster.nodes:
            os.kill(node.guardian_pid(), signal.SIGSTOP)
            os.kill(node.node_pid(), signal.SIGSTOP)
        stopped_ms = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
        self.assertEqual(holder.wait(10), LOST)
        self.assertFalse(any(is_alive(pid) for pid in pids))
        last_ms = max(at for t, _, at in self.working() if t == token)
        self.assertLess(last_ms - stopped_ms, 2000, "the ttl")
        for node in self.cluster.nodes:
            os.kill(node.node_pid(), signal.SIGCONT)
            os.kill(node.guardian_pid(), signal.SIGCONT)

    def test_a_program_that_listens_is_asked_first(self):
        holder = self.begin_work(self.LOCK)
        self.family()
        for node in self.cluster.nodes:
            os.kill(node.node_pid(), signal.SIGSTOP)
        self.assertEqual(holder.wait(10), LOST)
        self.assertIn("stopped", [line[1] for line in self.lines()])
        for node in self.cluster.nodes:
            os.kill(node.node_pid(), signal.SIGCONT)

    def test_on_a_terminal_it_is_as_if_it_were_not_there(self):
        """Ctrl-C reaches the program, once; it may read from the terminal."""
        script = "trap 'n=$((n+1))' INT; echo ready; read line; read line; echo $line interrupted $n"
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(BINARY, [BINARY, "-e", self.all, "lock", "job", "--", "bash", "-c", script], environment())
        seen = b""

        def read_until(what):
            nonlocal seen
            while what not in seen:
                seen += os.read(terminal, 1000)
        read_until(b"ready")
        os.write(terminal, b"\x03")
        read_until(b"^C")
        os.write(terminal, b"first\nhello\nhello\n")
        read_until(b"interrupted")
        self.assertIn(b"hello interrupted 1", seen)
        os.close(terminal)
        os.waitpid(pid, 0)


class LeadTest(HoldTest):
    """A holder is lost when it does not hear from its node for the length of a lease: on a busy machine, or under a
    sanitizer, that of a tenth of a second is soon over."""
    ELECTION_MS = "500, 1000"

    def of(self, node):
        return f"127.0.0.1:{node.client}"

    def others(self):
        return [node for node in self.cluster.nodes if node is not self.leader]

    def test_it_runs_on_the_leader_and_nowhere_else(self):
        done = subprocess.run([BINARY, "-e", self.of(self.leader), "lead", "--", "sh", "-c",
                               "echo $MOONKEEPER_NODE $MOONKEEPER_TERM $MOONKEEPER_FENCE; exit 4"],
                              env=environment(), text=True, capture_output=True, timeout=30)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertRegex(done.stdout, f"^{self.leader.name} [0-9]+ [0-9]+$")
        for wait in "0", "300ms":
            done = subprocess.run([BINARY, "-e", self.of(self.others()[0]), "lead", "--wait", wait, "--", "true"],
                                  env=environment(), text=True, capture_output=True, timeout=30)
            self.assertEqual(done.returncode, NO_LEADER, done.stderr)
            self.assertIn(f"{self.leader.name} does", done.stderr)

    def begin_on_all(self, *patience):
        """A worker wherever the leader is: {name: process}."""
        return {node.name: self.begin_work(("lead",), *patience, endpoints=self.of(node))
                for node in self.cluster.nodes}

    def test_nobody_else_leads_before_what_a_holder_was_told_is_over(self):
        """Deaths are certified, and leadership is handed over, but not before that."""
        def kill():
            self.leader.kill()

        def transfer():
            # The leader itself is asked: one that has just started may not know of it.
            self.begin("transfer", stdout=subprocess.DEVNULL, endpoints=self.of(self.leader))

        for how in kill, transfer, kill, transfer, kill:
            self.leader = self.cluster.wait_leader()
            wait_until(lambda: all(node.status() for node in self.cluster.nodes), 10, "all nodes")
            clients = [Client(self.of(node), 5) for node in self.others()]
            holder = Client(self.of(self.leader), 5)
            told = wait_until(lambda: self.ask_lead(holder), 10, "a leader that is ready")
            term = holder.call("status")["term"]
            how()

            def sees_another(client):  # or the same again, in another term
                status = client.call("status")
                return status["term"] > term and status["leader"]
            give_up = time.monotonic() + 20
            while not any(sees_another(client) for client in clients):
                self.assertLess(time.monotonic(), give_up, "nobody else leads")
            seen = time.monotonic()
            print(f"\n    {how.__name__}: another leads {(seen - told) * 1000:.1f} ms after that", end="",
                  file=sys.stderr)
            self.assertGreater(seen, told)
            for client in [*clients, holder]:
                client.close()

    @staticmethod
    def ask_lead(client):
        """Until when its holder may work, by time.monotonic()."""
        asked = time.monotonic()
        answer = client.call("lead", 7)
        return answer["leads"] and asked + answer["for_us"] / 1e6

    def test_it_is_left_in_peace(self):
        self.begin_on_all()
        token, pids = self.family()
        time.sleep(3)
        self.assertTrue(all(is_alive(pid) for pid in pids))
        self.assertEqual({t for t, _, _ in self.working()}, {token})

    def check_stopped(self, token):
        """It had its time to stop, and no other had begun by then."""
        stopped = [float(at) for t, what, at in self.lines() if what == "stopped" and int(t) == token]
        self.assertEqual(len(stopped), 1, "the program was asked to stop, not those that it has started")
        self.assertLess(stopped[0], min(at for t, _, at in self.working() if t != token))

    def test_a_planned_hand_over_waits_for_it(self):
        workers = self.begin_on_all("0.7")
        token, _ = self.family()
        self.assertEqual(self.run_to_end("transfer")[0], 0)
        self.family({token})
        self.assertEqual(workers[self.leader.name].wait(10), LOST)
        self.check_stopped(token)
        self.check_apart(2)

    def test_a_planned_stop_waits_for_it(self):
        workers = self.begin_on_all("0.7")
        token, _ = self.family()
        self.assertEqual(self.leader.stop(), 0)
        self.family({token})
        self.assertEqual(workers[self.leader.name].wait(10), LOST)
        self.check_stopped(token)
        self.check_apart(2)

    def test_it_is_over_before_another_leads_when_the_node_is_killed(self):
        workers = self.begin_on_all(REFUSES)
        token, pids = self.family()
        self.leader.kill()
        self.family({token})
        self.assertFalse(any(is_alive(pid) for pid in pids))
        self.assertEqual(workers[self.leader.name].wait(10), LOST)
        self.check_apart(2)

    def test_it_is_over_before_another_leads_when_the_node_is_stopped(self):
        workers = self.begin_on_all(REFUSES)
        token, pids = self.family()
        node = self.leader.node_pid()
        os.kill(node, signal.SIGSTOP)
        self.family({token})
        self.assertFalse(any(is_alive(pid) for pid in pids))
        os.kill(node, signal.SIGCONT)
        self.assertEqual(workers[self.leader.name].wait(10), LOST)
        self.check_apart(2)

    def test_one_that_is_stopped_itself_has_ended_its_program_in_time(self):
        workers = self.begin_on_all(REFUSES)
        token, pids = self.family()
        workers[self.leader.name].send_signal(signal.SIGSTOP)
        self.leader.kill()
        self.family({token})
        self.assertFalse(any(is_alive(pid) for pid in pids))
        workers[self.leader.name].send_signal(signal.SIGCONT)
        self.assertEqual(workers[self.leader.name].wait(10), LOST)
        self.check_apart(2)


if __name__ == "__main__":
    main()
