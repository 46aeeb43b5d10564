#!/usr/bin/env python3
"""The bundled script cron on real processes: a run dies with its node and is interrupted, retried only where that
is asked for; a mistake in its settings is told once, and the node runs on; the verbs of `moonkeeper cron`."""
import json
import os
import sys
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, failure, main, moonkeeper  # noqa: E402

# Writes a line as it starts; its first attempt does not end by itself.
PROGRAM = 'echo {job} {attempt} $$ >> "$OUT"; [ {attempt} = 2 ] || sleep 600'


def job(name, out, more=""):
    return (f"{{ name = '{name}', schedule = '@yearly', argv = {{ 'sh', '-c', '{PROGRAM}' }}, "
            f"env = {{ OUT = '{out}' }}, retry_ms = 0, {more} }}")


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Cron(unittest.TestCase):
    def start(self, jobs, n=3):
        self.cluster = Cluster(BINARY, n=n)
        self.addCleanup(lambda: self.cluster.__exit__(*failure(self)))
        self.out = os.path.join(self.cluster.folder, "out")
        listed = ", ".join(jobs(self.out))
        self.cluster.set_apps(f'{{ script = "bundled:cron", config = {{ jobs = {{ {listed} }} }} }}')
        self.cluster.__enter__()
        return self.cluster.wait_leader()

    def cron(self, node, *args):
        return moonkeeper("cron", *args, "-e", f"127.0.0.1:{node.client}")

    def listed(self, node, name):
        """The job as the log has it; None if it is not there yet."""
        done = moonkeeper("kv", "get", f"cron/jobs/{name}", "-o", "json", "-e", f"127.0.0.1:{node.client}")
        return json.loads(done.stdout)["value"] if done.returncode == 0 else None

    def history(self, node, name):
        done = self.cron(node, "history", name, "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else []

    def starts(self):
        if not os.path.exists(self.out):
            return []
        with open(self.out) as f:
            return [line.split() for line in f]

    def test_a_run_dies_with_its_node_and_is_retried_only_where_that_is_asked_for(self):
        old = self.start(lambda out: [job("once", out), job("again", out, "retries = 1")])
        wait_until(lambda: self.listed(old, "again") and self.listed(old, "once"), 10, "the jobs")
        for name in ("once", "again"):
            done = self.cron(old, "run", name)
            self.assertEqual(done.returncode, 0, done.stderr)
        first = wait_until(lambda: len(self.starts()) == 2 and self.starts(), 10, "two runs")
        self.assertTrue(all(is_there(pid) for _, _, pid in first))
        old = self.cluster.wait_leader()  # a busy machine may have elected another by now
        old.kill()
        others = [x for x in self.cluster.nodes if x is not old]
        new = self.cluster.wait_leader(among=others)
        again = wait_until(lambda: [x for x in self.starts() if x[:2] == ["again", "2"]], 10, "a retry")
        self.assertFalse(any(is_there(pid) for _, _, pid in first))

        def run_of(name):
            runs = self.history(new, name)
            return runs and "ended_ms" in runs[0] and runs[0]
        run = wait_until(lambda: run_of("again"), 10, "its end")
        self.assertEqual((run["state"], run["attempt"], run["retry_after"]), ("ok", 2, "interrupted"))
        self.assertNotEqual(run["node"], old.name)
        run = wait_until(lambda: run_of("once"), 10, "its end")
        self.assertEqual((run["state"], run["attempt"], run["node"]), ("interrupted", 1, old.name))
        self.assertEqual(len(self.starts()), 3, self.starts())
        self.assertEqual(len(again), 1)
        shown = self.cron(new, "history", "once")
        self.assertRegex(shown.stdout, r"SLOT +STATE +ATTEMPT")
        self.assertRegex(shown.stdout, r"interrupted +1 +" + old.name)

    def test_the_verbs_name_what_is_not_there_and_what_there_will_be(self):
        node = self.start(lambda out: [job("nightly", out, "tz = 'Europe/Berlin'")], n=1)
        wait_until(lambda: self.listed(node, "nightly"), 10, "the job")
        self.assertRegex(self.cron(node, "list").stdout, r"nightly +@yearly +Europe/Berlin +waiting +\d+-01-01 00:00")
        for verb in ("run", "history"):
            done = self.cron(node, verb, "nighly")
            self.assertEqual(done.returncode, 1)
            self.assertIn('there is no job "nighly"; did you mean "nightly"?', done.stderr)
        done = self.cron(node, "simulate", "--from", "2026-06-01", "--to", "2028-06-01")
        self.assertRegex(done.stdout, r"2027-01-01 00:00 \+01:00 +Europe/Berlin +nightly")
        self.assertRegex(done.stdout, r"2028-01-01 00:00 \+01:00 +Europe/Berlin +nightly")
        self.assertEqual(self.cron(node, "simulate", "--from", "soon").returncode, 2)

    def test_a_slot_that_is_not_run_is_in_the_log_too(self):
        node = self.start(lambda out: [job("nightly", out, "missed = 'skip'")], n=1)
        state = wait_until(lambda: self.listed(node, "nightly"), 10, "the job")
        state["considered_ms"] -= 366 * 24 * 3600 * 1000  # nobody led for a year
        done = moonkeeper("kv", "put", "cron/jobs/nightly", json.dumps(state), "--json", "-e",
                          f"127.0.0.1:{node.client}")
        self.assertEqual(done.returncode, 0, done.stderr)
        node.kill(guardian=False)
        wait_until(lambda: self.history(node, "nightly"), 10, "the slot")

        def log():
            with open(node.log) as f:
                return f.read()
        wait_until(lambda: 'msg="cron: missed"' in log(), 5, "a line")
        self.assertEqual(self.starts(), [])

    def test_a_job_that_this_machine_cannot_read_hides_no_other(self):
        node = self.start(lambda out: [job("nightly", out)], n=1)
        wait_until(lambda: self.listed(node, "nightly"), 10, "the job")
        lost = '{"schedule":"@daily","tz":"Lost/Island","considered_ms":1,"counts":{}}'
        done = moonkeeper("kv", "put", "cron/jobs/lost", lost, "--json", "-e", f"127.0.0.1:{node.client}")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.cron(node, "list")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"lost +@daily +Lost/Island +waiting +- +-")
        self.assertRegex(done.stdout, r"nightly +@yearly +UTC +waiting +\d+-01-01 00:00")
        self.assertIn("job lost: time zone 'Lost/Island'", done.stderr)
        self.assertEqual(self.cron(node, "run", "nightly").returncode, 0)
        names = [value.get("name") for value in json.loads(self.cron(node, "list", "-o", "json").stdout)]
        self.assertEqual(names, [None, "nightly"])

    def test_a_configuration_is_simulated_without_a_cluster(self):
        root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
        done = moonkeeper("cron", "simulate", "-c", os.path.join(root, "conf", "cron.lua"), "--limit", "4000",
                          "--from", "2026-03-29", "--to", "2026-03-30")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"2026-03-29 03:00 \+02:00 +Europe/Berlin +backup")
        self.assertEqual(done.stdout.count(" hello"), 24 * 60)
        done = moonkeeper("cron", "simulate", "backup", "-c", os.path.join(root, "conf", "cron.lua"),
                          "--from", "2026-03-28", "--to", "2026-03-31")
        self.assertEqual([line.split()[0] for line in done.stdout.splitlines()[1:]],
                         ["2026-03-28", "2026-03-29", "2026-03-30"])

    def test_a_mistake_in_the_settings_is_told_once_and_the_node_runs_on(self):
        node = self.start(lambda out: ["{ name = 'a', schedul = '@daily', argv = { 'true' } }"], n=1)
        told = "config: there is no key 'jobs[1].schedul', did you mean 'schedule'?"
        wait_until(lambda: f'application "cron" failed: {told}' in
                   moonkeeper("status", "-e", f"127.0.0.1:{node.client}").stdout, 10, "the mistake in the status")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{node.http}/readyz", timeout=5)
        self.assertEqual(caught.exception.code, 503)
        with open(node.log) as f:
            self.assertEqual(f.read().count(told), 1)
        done = moonkeeper("kv", "put", "a", "b", "-e", f"127.0.0.1:{node.client}")
        self.assertEqual(done.returncode, 0, done.stderr)


main()
