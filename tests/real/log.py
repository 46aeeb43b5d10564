#!/usr/bin/env python3
"""moonkeeper log: what a data directory holds; torn and damaged ones; while a node runs there."""
import json
import os
import shutil
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster  # noqa: E402
from command import BINARY, main, moonkeeper  # noqa: E402

WRITES = 40


def contents(folder):
    """Every file of it, by name: to see that nothing was changed."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as f:
                found[path] = (f.read(), os.stat(path).st_mtime_ns)
    return found


class Log(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BINARY, n=1)
        with cls.cluster as cluster:
            node = cluster.nodes[0]
            cluster.wait_leader()
            there = ["-e", f"127.0.0.1:{node.client}"]
            for i in range(WRITES):
                assert moonkeeper("kv", "put", f"k{i}", "v" * 100, *there).returncode == 0
                if i == WRITES // 2:
                    assert moonkeeper("snapshot", "save", *there).returncode == 0
            assert node.stop() == 0
            cls.original = cluster.folder + "-data"
            shutil.copytree(node.data, cls.original)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.original)

    def setUp(self):
        self.data = self.original + "-copy"
        shutil.copytree(self.original, self.data)
        self.addCleanup(shutil.rmtree, self.data)

    def log(self, *args):
        before = contents(self.data)
        done = moonkeeper("log", self.data, *args)
        self.assertEqual(contents(self.data), before, "it changed something")
        return done

    def json(self, *args):
        done = self.log("-o", "json", *args)
        return done.returncode, json.loads(done.stdout)

    def change(self, name, offset, data):
        with open(os.path.join(self.data, name), "r+b") as f:
            f.seek(offset)
            f.write(data)

    def flip(self, name, offset):
        with open(os.path.join(self.data, name), "rb") as f:
            f.seek(offset)
            byte = f.read(1)[0]
        self.change(name, offset, bytes([byte ^ 0x40]))

    def test_it_lists_what_there_is(self):
        code, found = self.json()
        self.assertEqual(code, 0)
        self.assertEqual((found["verdict"], found["node"], found["process"], found["torn"],
                          found["damage"]), ("sound", "n1", None, None, None))
        entries = found["entries"]
        self.assertEqual([x["index"] for x in entries],
                         list(range(entries[0]["index"], found["last"]["index"] + 1)))
        commands = [x for x in entries if x["kind"] == "command"]
        self.assertTrue(commands and all(x["machine"] == "kv" and x["bytes"] > 100 for x in commands))
        segments = found["segments"]
        self.assertEqual(sum(x["entries"] for x in segments), len(entries))
        for x in entries:
            self.assertLess(x["offset"], next(s["used_bytes"] for s in segments if s["file"] == x["file"]))
        snapshot, = found["snapshots"]
        self.assertGreater(snapshot["pairs"], WRITES // 2)
        table = self.log().stdout
        for text in ("n1 of cluster", "wal/0000000000000001.log", "snapshot/", "command", "sound"):
            self.assertIn(text, table)
        self.assertEqual(self.log("-o", "simple").stdout, "sound\n")

    def test_a_range_of_entries(self):
        last = self.json()[1]["last"]["index"]
        found = self.json("--from", str(last - 4), "--to", str(last - 2))[1]
        self.assertEqual([x["index"] for x in found["entries"]], [last - 4, last - 3, last - 2])
        self.assertEqual(self.json("--from", str(last + 1))[1]["entries"], [])
        self.assertEqual(self.log("--from", "x").returncode, 2)

    def test_verifying_a_sound_one(self):
        done = self.log("--verify")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("every checksum", done.stdout)

    def test_a_torn_last_write_is_legal_and_told(self):
        found = self.json()[1]
        last = found["entries"][-1]
        with open(os.path.join(self.data, last["file"]), "rb") as f:
            f.seek(last["offset"])
            rest = len(f.read())
        # As a crash leaves it: the header of the last record, and nothing of what follows.
        self.change(last["file"], last["offset"] + 48, bytes(rest - 48))
        code, torn = self.json("--verify")
        self.assertEqual((code, torn["verdict"], torn["torn"]),
                         (0, "torn", {"file": last["file"], "offset": last["offset"]}))
        self.assertEqual(torn["last"]["index"], last["index"] - 1)
        self.assertIn("the next start cuts it off", self.log().stdout)

    def test_damage_in_the_middle_is_told_with_its_place(self):
        entry = self.json()[1]["entries"][5]
        self.flip(entry["file"], entry["offset"] + 60)
        for args in ((), ("--verify",)):
            done = self.log(*args)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"{entry['file']} is damaged at byte {entry['offset']}", done.stderr)
        code, found = self.json()
        self.assertEqual((code, found["verdict"]), (1, "damaged"))
        self.assertEqual(found["entries"][-1]["index"], entry["index"] - 1)  # what was before it

    def test_a_damaged_snapshot_is_found_by_verifying(self):
        snapshot, = self.json()[1]["snapshots"]
        self.flip(snapshot["file"], snapshot["bytes"] // 2)
        self.assertEqual(self.log().returncode, 0)
        done = self.log("--verify")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, f"{snapshot['file']} is damaged at byte [0-9]+")

    def test_what_is_missing_or_foreign_is_told(self):
        os.rename(os.path.join(self.data, "wal/0000000000000001.log"),
                  os.path.join(self.data, "wal/renamed"))
        done = self.log()
        self.assertEqual(done.returncode, 1)
        self.assertIn("wal/renamed does not belong there", done.stderr)
        self.flip("identity", 60)
        self.assertEqual(self.log().returncode, 1)
        os.remove(os.path.join(self.data, "identity"))
        done = self.log()
        self.assertEqual(done.returncode, 1)
        self.assertIn("is no data directory of a node", done.stderr)
        done = moonkeeper("log", self.data + "/nothing")
        self.assertEqual(done.returncode, 1)
        self.assertFalse(os.path.exists(self.data + "/nothing"))

    def test_beside_a_node_that_writes(self):
        with Cluster(BINARY, n=1) as cluster:
            node = cluster.nodes[0]
            cluster.wait_leader()
            end = threading.Event()

            def write():
                while not end.is_set():
                    moonkeeper("bench", "-e", f"127.0.0.1:{node.client}", "--for", "300ms")
            writer = threading.Thread(target=write)
            writer.start()
            try:
                lasts = []
                for _ in range(10):
                    done = moonkeeper("log", node.data, "--verify", "-o", "json")
                    self.assertEqual(done.returncode, 0, done.stderr)
                    found = json.loads(done.stdout)
                    self.assertEqual(found["process"], node.node_pid())
                    lasts.append(found["last"]["index"])
                self.assertEqual(lasts, sorted(lasts))
                self.assertLess(lasts[0], lasts[-1])
                self.assertIn("in use    by process", moonkeeper("log", node.data, "--verify").stdout)
            finally:
                end.set()
                writer.join()
            self.assertEqual(node.stop(), 0)  # nothing was in its way


if __name__ == "__main__":
    main()
