"""The binary as a user calls it, for tests of real processes. Run as: test.py BINARY [unittest flags]."""
import os
import subprocess
import sys
import unittest

if len(sys.argv) < 2:
    sys.exit(f"usage: {sys.argv[0]} path/to/moonkeeper [unittest flags]")
BINARY = os.path.abspath(sys.argv[1])


def environment(extra=None):
    """Ours without what would change how the binary behaves."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MOONKEEPER_")}
    kept.update(extra or {})
    return kept


def moonkeeper(*args, timeout=30, env=None):
    """Run it to its end. The result has returncode, stdout and stderr (text)."""
    return subprocess.run([BINARY, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout, env=environment(env))


def failure(test):
    """For Cluster.__exit__() in a tearDown: a test that fails leaves its folder."""
    result = test._outcome.result
    failed = any(getattr(t, "test_case", t) is test for t, _ in result.failures + result.errors)
    return (AssertionError if failed else None, None, None)


def main():
    unittest.main(argv=[sys.argv[0]] + sys.argv[2:], verbosity=2)
