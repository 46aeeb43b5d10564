#!/usr/bin/env python3
"""`moonkeeper test` as people and machines call it: what it takes, what it says, how it exits."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from command import BINARY, environment, main, moonkeeper  # noqa: E402

HEAD = 'local t = require "moonkeeper.test"\n'
FINE = 't.it("is fine", function() end)\n'
TWO = HEAD + FINE + 't.it("is not", function() t.eq(1, 2) end)\n'
SKIPS = 't.it("wants processes", function() t.requires "real" end)\n'
COUNTS = 't.it("counts", function() end, { seeds = 3 })\n'


class Runner(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moonkeeper-")

    def tearDown(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def file(self, text, name="test.lua"):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def run_text(self, text, *flags, code=0):
        result = moonkeeper("test", self.file(text), *flags, timeout=120)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result

    def refused(self, words, *arguments):
        """It is not even begun: exit code 2, nothing on stdout, one line that says why."""
        result = moonkeeper("test", *arguments, timeout=120)
        self.assertEqual((result.returncode, result.stdout), (2, ""), result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertIn(words, result.stderr)


class Files(Runner):
    """What does not load, or cannot be found."""

    def test_a_syntax_error_is_told_with_its_line(self):
        path = self.file(HEAD + "t.it('a', function( end)\n")
        self.refused(f"{path}:2: <name> or '...' expected near 'end'", path)

    def test_an_error_in_describe_is_told_with_its_line(self):
        path = self.file(HEAD + "t.describe('a', function()\n  local x\n  x.y = 1\nend)\n")
        self.refused(f"{path}:4: attempt to index a nil value", path)

    def test_a_chunk_without_end_is_ended(self):
        path = self.file(HEAD + "while true do end\n")
        self.refused(f"{path}: killed: over its budget", path)

    def test_a_file_that_is_not_there_is_named(self):
        path = os.path.join(self.folder, "missing.lua")
        self.refused(f"{path}: No such file or directory", path)

    def test_a_folder_without_tests_is_named(self):
        self.refused(f"{self.folder}: there is no .lua file in it", self.folder)

    def test_a_file_without_tests_is_named(self):
        path = self.file("local _ = 1\n")
        self.refused(f"there is no test in {path}", path)

    def test_an_unknown_option_of_a_test_is_told(self):
        path = self.file(HEAD + 't.it("a", function() end, { seed = 3 })\n')
        self.refused(f"{path}:2: t.it: unknown option seed; there are modes, seeds and timeout_ms",
                     path)

    def test_a_folder_stands_for_its_files_in_order(self):
        for name in ("b.lua", "a.lua", "notes.txt", ".hidden.lua"):
            self.file(HEAD + FINE, name)
        result = moonkeeper("test", self.folder, "--list")
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stdout.splitlines(),
                         [f"{self.folder}/{name}.lua:2: is fine (sim, real)" for name in "ab"])


class Flags(Runner):
    def test_wrong_values_are_refused_with_what_they_ought_to_be(self):
        path = self.file(HEAD + FINE)
        self.refused('--seed is "x"; it must be a whole number', path, "--seed", "x")
        self.refused('--seeds is "0"; it must be a whole number from 1 on', path, "--seeds", "0")
        self.refused('--jobs is "0"; it must be 1 to', path, "--jobs", "0")
        self.refused('--format is "xml"; it must be tap or junit', path, "--format", "xml")
        self.refused("did you mean --format?", path, "--fromat", "tap")
        self.refused('no test has "nothing" in its name', path, "--filter", "nothing")

    def test_seeds_multiply_what_a_test_asks_for_and_seed_is_one(self):
        self.assertIn("; 3 runs,", self.run_text(HEAD + COUNTS).stdout)
        self.assertIn("; 12 runs,", self.run_text(HEAD + COUNTS, "--seeds", "4").stdout)
        self.assertIn("; 1 runs,", self.run_text(HEAD + COUNTS, "--seed", "9").stdout)

    def test_a_filter_chooses_by_part_of_the_name_with_its_groups(self):
        text = HEAD + 't.describe("group", function() ' + FINE + " end)\n" + COUNTS
        output = self.run_text(text, "--filter", "group > is").stdout
        self.assertIn("1 passed, 0 failed; 1 runs", output)

    def test_two_jobs_run_at_a_time_and_are_told_in_order(self):
        spin = 't.it("%s", function() local n = 0 for i = 1, %d do n = n + i end end)\n'
        text = HEAD + spin % ("long", 2000000) + spin % ("short", 1) + spin % ("third", 1)
        lines = self.run_text(text, "--jobs", "2").stdout.splitlines()
        self.assertEqual([line.split()[1] for line in lines if line.startswith("  ok")],
                         ["long", "short", "third"])


class Failures(Runner):
    def failed(self, body, words, *flags, options="{}"):
        text = HEAD + f't.it("it", function(mode)\n  {body}\nend, {options})\n'
        output = self.run_text(text, *flags, code=1).stdout
        self.assertIn(words, output)
        return output

    def test_an_expectation_is_told_with_its_line_its_seed_and_the_command_that_reruns_it(self):
        output = self.failed("t.eq({ a = 1 }, { a = 2 })", "test.lua:3: the tables differ")
        self.assertIn(".a: got 1, expected 2", output)
        rerun = re.search(r"run it again: (.*)", output).group(1)
        self.assertIn("--filter 'it' --seed 1", rerun)
        again = subprocess.run(rerun, shell=True, stdout=subprocess.PIPE, text=True, timeout=60,
                               env=environment())
        self.assertEqual(again.returncode, 1)
        self.assertIn("0 passed, 1 failed; 1 runs", again.stdout)

    def test_only_the_seeds_that_failed_are_named(self):
        output = self.failed("t.ne(math.random(4), 1)", "it failed with",
                             options="{ seeds = 40 }")
        first = re.search(r"it failed with (\d+) of 40 seeds: .*; this is seed (\d+)", output)
        self.assertGreater(int(first.group(1)), 0)
        self.assertLess(int(first.group(1)), 40)
        path = os.path.join(self.folder, "test.lua")
        again = moonkeeper("test", path, "--seed", first.group(2))
        self.assertEqual(again.returncode, 1)

    def test_a_cluster_that_fails_is_shown_with_what_happened_last(self):
        output = self.failed("local c <close> = t.cluster { n = 3, mode = mode } c:start()\n"
                             "  t.eq(c:wait_leader(), nil)", "test.lua:4: ")
        self.assertRegex(output, r"what happened last \(s, node, what\)\n(.*\n)* +0\.\d+  n\d ")

    def test_a_misspelt_option_is_told_with_the_nearest_name(self):
        self.failed("t.cluster { latancy_ms = 3 }", "test.lua:3: t.cluster: there is no option "
                    '"latancy_ms"; did you mean "latency_ms"?')

    def test_a_node_that_is_not_there_is_told(self):
        self.failed("t.cluster { n = 3 }:node(4)",
                    "test.lua:3: there is no node 4; they are numbered 1 to 3")

    def test_what_a_verb_would_ignore_is_told_at_its_line_with_what_was_meant(self):
        mistakes = [
            ('c:delay(1, 2, 10, 20, { typ = "vote" })', "'typ'; did you mean 'type'?"),
            ('c:delay(1, 2, 10, 20, { type = "vot" })', "message 'vot'; did you mean 'vote'?"),
            ('c:rpcs { type = "zzzzzzz" }', "there are vote, append, snapshot, install_snapshot, timeout_now, "),
            ("c:delay(1, 2)", "min_ms is a time in ms, from 0 on, not nil"),
            ("c:drop(1, 2)", "p is a probability, 0 to 1, not nil"),
            ("c:drop(1, 2, 1, { cuont = 1 })", "there is no option 'cuont'"),
            ("c:cut(1, 1)", "from n1 to n1 there is no link"),
            ("c:leader { amog = { 1 } }", "'amog'; did you mean 'among'?"),
            ("c:wait_leader(100, { amnog = { 1 } })", "'amnog'; there is among"),
            ("c:wait_leader(100, { among = { 4 } })", "there is no node 4"),
            ('c:propose("kv", "get", {}, { timeot_ms = 1 })', "did you mean 'timeout_ms'?"),
            ('c:node(1):query("kv", "get", {}, { raed = 1 })', "there is no option 'raed'"),
            ('c:submit("x", { nod = 1 })', "did you mean 'node'?"),
            ("c:add(1, { votr = false })", "did you mean 'voter'?"),
            ("c:crash(1, { hst = true })", "did you mean 'host'?"),
            ('c:events { name = "leader_electd" }', "did you mean 'leader_elected'?"),
            ("c:events { name = 'leader_elected', node = 4 }", "there is no node 4"),
            ("c:run_for(-5)", "ms is a time in ms, from 0 on, not -5"),
            ("c:partition({1}, 2)", "a group is a list of nodes, as {1, 2}, not 2"),
            ("c:partition({1, 2})", "a group is a list of nodes"),
            ('t.cluster { mode = "reel" }', "'reel'; did you mean 'real'?"),
            ('t.cluster { mode = "real" }', "mode is 'real', and the test runs in 'sim'"),
        ]
        text = HEAD + "local c\n" + "".join(
            f't.it("it", function() c = t.cluster {{}}\n  {call}\nend)\n' for call, _ in mistakes)
        output = self.run_text(text, code=1).stdout
        self.assertIn(f"0 passed, {len(mistakes)} failed", output)
        for number, (call, words) in enumerate(mistakes):
            told = re.search(rf"test\.lua:{4 + 3 * number}: (.*)", output)
            self.assertIsNotNone(told, call + "\n" + output)
            self.assertIn(words, told.group(1), call)

    def test_an_event_of_a_script_may_have_any_name_with_a_dot(self):
        self.run_text(HEAD + 't.it("it", function() t.eq(t.cluster {}:events { name = "a.b" }, {}) '
                      "end)\n")

    def test_a_loop_without_end_fails_its_test_alone(self):
        text = HEAD + 't.it("spins", function() while true do end end)\n' + FINE
        output = self.run_text(text, code=1).stdout
        self.assertIn("killed: over its budget", output)
        self.assertIn("1 passed, 1 failed", output)

    def test_a_test_that_waits_for_ever_ends_by_its_own_clock(self):
        self.failed("local mk = require 'moonkeeper' while true do mk.task.sleep(1000) end",
                    "test.lua:2: it did not end within 5000 ms (timeout_ms)",
                    options="{ timeout_ms = 5000 }")

    def test_a_task_that_a_test_left_running_fails_it_too(self):
        self.failed("require 'moonkeeper'.task.spawn(function() error('in a task') end)\n"
                    "  require 'moonkeeper'.task.sleep(10)", "test.lua:3: in a task")

    def test_memory_without_end_fails_its_test_alone(self):
        text = HEAD + 't.it("eats", function() local s = "x" while true do s = s .. s end end)\n'
        output = self.run_text(text + FINE, code=1).stdout
        self.assertIn("not enough memory", output)
        self.assertIn("1 passed, 1 failed", output)

    def test_a_process_that_dies_is_reported_with_its_test(self):
        text = HEAD + 't.it("dies", function() while true do end end)\n' + FINE
        with subprocess.Popen([BINARY, "test", self.file(text), "--jobs", "1"],
                              stdout=subprocess.PIPE, text=True, env=environment()) as runner:
            os.kill(self.child_that_works(runner), signal.SIGKILL)
            output = runner.communicate(timeout=60)[0]
        self.assertEqual(runner.returncode, 1, output)
        self.assertIn("FAIL  dies", output)
        self.assertIn("the process of the test died of signal 9", output)
        self.assertIn("1 passed, 1 failed", output)

    def child_that_works(self, runner):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with open(f"/proc/{runner.pid}/task/{runner.pid}/children") as f:
                for child in f.read().split():
                    return int(child)
            time.sleep(0.01)
        self.fail("no test runs")


class Formats(Runner):
    def test_tap_has_a_plan_a_line_for_each_test_and_nothing_else(self):
        output = self.run_text(TWO + SKIPS, "--format", "tap", code=1).stdout
        lines = [line for line in output.splitlines() if not line.startswith("  ")]
        path = os.path.join(self.folder, "test.lua")
        self.assertEqual(lines, ["TAP version 14", "1..3", f"ok 1 - {path}: is fine",
                                 f"not ok 2 - {path}: is not",
                                 f'ok 3 - {path}: wants processes # SKIP needs mode "real"'])
        self.assertIn(f"  message: |2\n    {path}:3: got 1, expected 2\n", output)

    def test_junit_can_be_read(self):
        output = self.run_text(TWO + SKIPS, "--format", "junit", code=1).stdout
        suites = xml.etree.ElementTree.fromstring(output)
        self.assertEqual([suites.get(k) for k in ("tests", "failures", "skipped")],
                         ["3", "1", "1"])
        cases = suites.findall("./testsuite/testcase")
        self.assertEqual([c.get("name") for c in cases], ["is fine", "is not", "wants processes"])
        self.assertIn("got 1, expected 2", cases[1].find("failure").get("message"))
        self.assertIsNotNone(cases[2].find("skipped"))


class Readme(Runner):
    """The examples of tests/README.md run as they are printed there."""

    def test_every_example_passes(self):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "README.md")) as f:
            examples = re.findall(r"```lua\n(-- (\w+\.lua)\n.*?)```", f.read(), re.DOTALL)
        self.assertGreaterEqual(len(examples), 4)
        for text, name in examples:
            self.file(text, name)
        tests = [name for _, name in examples if name.endswith("_test.lua")]
        result = subprocess.run([BINARY, "test", *tests], cwd=self.folder, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, timeout=300,
                                env=environment())
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn(f"{len(tests)} passed, 0 failed", result.stdout)


if __name__ == "__main__":
    main()
