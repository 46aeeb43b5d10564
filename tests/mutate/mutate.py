#!/usr/bin/env python3
"""Takes each protecting rule away in turn and sees that its test notices.

    tests/mutate/mutate.py                  all rules: builds build-mutate/, prints a table
    tests/mutate/mutate.py RULE...          these rules
    tests/mutate/mutate.py --check          only see that each rule is where the table says, and
                                            that README.md has the table
    tests/mutate/mutate.py --table          write the table into README.md
    tests/mutate/mutate.py --who RULE...    which tests notice? (tries many: takes long)

Exits with 1 if a rule can be taken away and nobody notices. README.md describes the table.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
README = os.path.join(ROOT, "tests", "mutate", "README.md")
TABLE_HEADING = "## The table"
COPIED = ["CMakeLists.txt", "src", "tests", "lua"]
TIMEOUT_S = 300


class Edit:
    def __init__(self, path):
        self.path, self.old, self.new = path, "", ""

    def pattern(self):
        """Whatever the white space: a change of the formatting moves nothing."""
        return re.compile(r"\s+".join(re.escape(word) for word in self.old.split()))


class Rule:
    def __init__(self, name, file):
        self.name, self.file = name, file
        self.says, self.edits, self.test, self.case = "", [], "", ""


def read_rules(folder):
    rules = []
    for file in sorted(os.listdir(folder)):
        if file.endswith(".rules"):
            with open(os.path.join(folder, file)) as text:
                parse(text, f"tests/mutate/{file}", rules)
    return rules


def parse(text, file, rules):
    side = None
    for number, line in enumerate(text, 1):
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            side = None
        elif word == "rule":
            rules.append(Rule(rest, os.path.basename(file)))
        elif word == "says":
            rules[-1].says = rest
        elif word == "file":
            rules[-1].edits.append(Edit(rest))
        elif word == "-":
            side, rules[-1].edits[-1].old = "old", rest
        elif word == "+":
            side, rules[-1].edits[-1].new = "new", rest
        elif word == "caught":
            rules[-1].test, _, rules[-1].case = rest.removeprefix("by ").partition(" ")
            if rules[-1].test == "scenario":
                scenario, _, rules[-1].case = rules[-1].case.partition(": ")
                rules[-1].test = f"scenario/{scenario}"
        elif side:
            edit = rules[-1].edits[-1]
            setattr(edit, side, getattr(edit, side) + "\n" + line.strip())
        else:
            sys.exit(f"{file}:{number}: what is \"{word}\"?")


def check(rules):
    """Each rule stands where the table says, exactly once."""
    wrong = 0
    for name in sorted({r.name for r in rules if sum(r.name == o.name for o in rules) > 1}):
        print(f"{name}: there are two rules of this name")
        wrong += 1
    for rule in rules:
        for edit in rule.edits:
            with open(os.path.join(ROOT, edit.path)) as source:
                found = len(edit.pattern().findall(source.read()))
            if found != 1:
                print(f"{rule.name}: found {found} times in {edit.path}: {edit.old}")
                wrong += 1
        if not rule.edits or not rule.test or not rule.says:
            print(f"{rule.name}: says what, is where, and is caught by whom?")
            wrong += 1
    print(f"{len(rules)} rules, {wrong} not in place")
    return wrong == 0


def with_table(rules):
    """README.md as it should be: all that is behind its last heading is made from the rules."""
    with open(README) as text:
        head, found, _ = text.read().partition(f"\n{TABLE_HEADING}\n")
    assert found, f"README.md has no heading {TABLE_HEADING}"
    lines = [head, TABLE_HEADING]
    for file in sorted({r.file for r in rules}):
        lines += ["", f"### {file}", "", "| rule | what it says | caught by |", "|---|---|---|"]
        for rule in rules:
            if rule.file == file:
                case = f": {rule.case}" if rule.case else ""
                lines.append(f"| `{rule.name}` | {rule.says} | {rule.test}{case} |")
    return "\n".join(lines) + "\n"


# ---- a copy of the source, one rule at a time taken out of it -------------------------------------


class Tree:
    def __init__(self, folder):
        self.source = os.path.join(folder, "source")
        self.build_folder = os.path.join(folder, "build")

    def update(self):
        """Only what differs is copied, so that little is built again."""
        for name in COPIED:
            self._copy(os.path.join(ROOT, name), os.path.join(self.source, name))
        self._run(["cmake", "-S", self.source, "-B", self.build_folder, "-G", "Ninja",
                   "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS=-w"])

    def _copy(self, source, target):
        if os.path.isdir(source):
            os.makedirs(target, exist_ok=True)
            for name in set(os.listdir(target)) - set(os.listdir(source)):
                gone = os.path.join(target, name)
                shutil.rmtree(gone) if os.path.isdir(gone) else os.remove(gone)
            for name in os.listdir(source):
                self._copy(os.path.join(source, name), os.path.join(target, name))
        elif not os.path.exists(target) or read(source) != read(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(source, target)

    @staticmethod
    def _run(command):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stdout[-4000:]}")

    def build(self, targets):
        self._run(["ninja", "-C", self.build_folder, *targets])

    def apply(self, rule):
        """Returns what undoes it."""
        before = {}
        for edit in rule.edits:
            path = os.path.join(self.source, edit.path)
            text = read(path).decode()
            before.setdefault(path, text)
            text, count = edit.pattern().subn(lambda _: edit.new, text)
            assert count == 1, f"{rule.name}: its edits overlap in {edit.path}"
            with open(path, "w") as out:
                out.write(text)
        return before

    @staticmethod
    def undo(before):
        for path, text in before.items():
            with open(path, "w") as out:
                out.write(text)

    def run(self, test, case):
        """(passed, output) of a test by its name in ctest, of a range of the swarm's seeds, or of a
        test of a scenario by its name."""
        first, _, last = test.removeprefix("swarm:").partition("-")
        if test.startswith("swarm:"):
            seeds = int(last) - int(first) + 1
            command = [os.path.join(self.build_folder, "moonkeeper"), "test", "--swarm",
                       "--seed", first, "--seeds", str(seeds)]
        elif test.startswith("scenario/"):
            command = [os.path.join(self.build_folder, "moonkeeper"), "test",
                       f"tests/scenarios/{test.removeprefix('scenario/')}.lua", "--filter", case]
        else:
            command = ["ctest", "--test-dir", self.build_folder, "-R", f"^{re.escape(test)}$",
                       "--output-on-failure", "--no-tests=error"]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=TIMEOUT_S, cwd=self.source)
        except subprocess.TimeoutExpired:
            return False, f"still running after {TIMEOUT_S} s"
        return done.returncode == 0, done.stdout.decode(errors="replace")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def test_of(rule):
    return f"swarm:{rule.case}" if rule.test == "swarm" else rule.test


def target_of(test):
    if test.startswith(("swarm:", "scenario/")):
        return "moonkeeper"
    kind, _, rest = test.partition("/")
    return "raft_traces" if kind == "traces" else test.replace("/", "_")


# ---- verdicts ----------------------------------------------------------------------------------------


def names_the_case(rule, output):
    """Of a unit test, the named case must be the one that fails, or in which the program died."""
    if not rule.case or rule.test == "swarm" or rule.test.startswith("scenario/"):
        return True
    if re.search(r"\[  FAILED  \] " + re.escape(rule.case), output):
        return True
    begun = re.findall(r"\[ RUN      \] (\w+)", output)
    return bool(begun) and begun[-1] == rule.case and "[==========] " not in output.split(begun[-1])[-1]


def how(output):
    for pattern in (r"violated: ([^\n]*)", r"ASSERT[^\n]*", r"assertion failed: [^\n]*",
                    r"\[  ERROR   \] --- ([^\n]*)", r"first difference[^\n]*", r"still running[^\n]*"):
        found = re.search(pattern, output)
        if found:
            return found.group(found.lastindex or 0)[:60]
    return ""


def try_rule(tree, rule):
    """(caught, a word about it)"""
    before = tree.apply(rule)
    try:
        tree.build([target_of(test_of(rule))])
        passed, output = tree.run(test_of(rule), rule.case)
    finally:
        tree.undo(before)
    if passed:
        return False, "SURVIVES"
    if not names_the_case(rule, output):
        return False, f"noticed, but not by {rule.case}"
    return True, how(output)


def check_whole(tree, rules):
    """With all rules in place every one of the tests passes."""
    tests = sorted({(test_of(r), r.case if r.test.startswith("scenario/") else "") for r in rules})
    tree.build(sorted({target_of(t) for t, _ in tests}))
    for test, case in tests:
        passed, output = tree.run(test, case)
        if not passed:
            sys.exit(f"{test} fails with every rule in place:\n{output[-4000:]}")


def who(tree, rule, tests):
    before = tree.apply(rule)
    try:
        tree.build(sorted({target_of(t) for t in tests}))
        for test in tests:
            passed, output = tree.run(test, "")
            if not passed:
                cases = re.findall(r"\[  FAILED  \] (\w+)", output)
                print(f"{rule.name}: {test} {' '.join(dict.fromkeys(cases))} {how(output)}", flush=True)
    finally:
        tree.undo(before)
    print(f"{rule.name}: that is all", flush=True)


def candidates():
    names = [f"traces/{n.removesuffix('.trace')}"
             for n in sorted(os.listdir(f"{ROOT}/tests/traces")) if n.endswith(".trace")]
    for folder in ("raft", "store", "node", "sim"):
        names += [f"unit/{folder}/{n.removesuffix('.c')}"
                  for n in sorted(os.listdir(f"{ROOT}/tests/unit/{folder}"))
                  if n.startswith("test_") and n.endswith(".c") and "linear" not in n]
    return [*names, "swarm:1-400"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rules", nargs="*", metavar="RULE")
    parser.add_argument("--check", action="store_true", help="only see that the table is true")
    parser.add_argument("--table", action="store_true", help="write the table into README.md")
    parser.add_argument("--who", action="store_true", help="try many tests on each rule")
    arguments = parser.parse_args()
    rules = read_rules(os.path.join(ROOT, "tests", "mutate"))
    if not check(rules):
        return 1
    if arguments.table:
        text = with_table(rules)
        with open(README, "w") as out:
            out.write(text)
        return 0
    if arguments.check:
        if read(README).decode() != with_table(rules):
            print("README.md has another table: tests/mutate/mutate.py --table writes it")
            return 1
        return 0
    unknown = set(arguments.rules) - {r.name for r in rules}
    if unknown:
        sys.exit(f"there is no rule {', '.join(sorted(unknown))}")
    chosen = [r for r in rules if not arguments.rules or r.name in arguments.rules]
    tree = Tree(os.path.join(ROOT, "build-mutate"))
    tree.update()
    if arguments.who:
        for rule in chosen:
            who(tree, rule, candidates())
        return 0
    began = time.monotonic()
    check_whole(tree, chosen)
    survivors = []
    for rule in chosen:
        caught, word = try_rule(tree, rule)
        if not caught:
            survivors.append(rule.name)
        print(f"{'caught' if caught else 'FAILED':7}{rule.name:38}{rule.test} {rule.case}\n"
              f"       {rule.says}\n       {word}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} rules are missed when they are gone; "
          f"{time.monotonic() - began:.0f} s")
    if survivors:
        print(f"nobody misses {', '.join(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
