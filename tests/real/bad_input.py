#!/usr/bin/env python3
"""Whatever a user gets wrong: one clear sentence, and the exit code that stands for it."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, free_ports, wait_until  # noqa: E402
from command import BINARY, environment, failure, main, moonkeeper  # noqa: E402

OK, ERROR, USAGE, NO_LEADER, UNREACHABLE, UNKNOWN, CONFLICT = range(7)


class Start(unittest.TestCase):
    """moonkeeper start"""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moonkeeper-")
        self.ports = free_ports(3)
        self.running = []

    def tearDown(self):
        for process in self.running:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def config(self, text=None, **changes):
        """Write a configuration and return its path. Values in changes are Lua."""
        client, peer, http = self.ports
        values = {
            "cluster": '"test"', "id": '"n1"',
            "members": f'{{ {{ id = "n1", peer = "127.0.0.1:{peer}" }},'
                       f' {{ id = "n2", peer = "127.0.0.1:1" }} }}',
            "client": f'"127.0.0.1:{client}"', "http": f'"127.0.0.1:{http}"',
            "data_dir": f'"{self.folder}/data"',
        }
        values.update(changes)
        path = os.path.join(self.folder, "node.lua")
        with open(path, "w") as f:
            f.write(text or "return {\n" + "".join(f"  {k} = {v},\n" for k, v in values.items()) + "}\n")
        return path

    def refused(self, code, *parts, config=None, flags=()):
        done = moonkeeper("start", "-c", config or self.config(), *flags)
        for part in parts:
            self.assertIn(part, done.stderr)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout, "")
        return done

    def started(self, config):
        """A node in the background that is ready."""
        log = os.path.join(self.folder, "log")
        with open(log, "wb") as f:
            process = subprocess.Popen([BINARY, "start", "-c", config], stdout=f, stderr=f,
                                       env=environment())
        self.running.append(process)

        def ready():
            with open(log) as f:
                return "msg=\"ready\"" in f.read()
        wait_until(ready, 10, "ready")
        return process

    def stopped(self, process):
        process.terminate()
        self.assertEqual(process.wait(20), OK)

    # -- the configuration

    def test_unknown_key_names_the_nearest_one(self):
        self.refused(USAGE, "node.lua: unknown key hartbeat_ms", 'did you mean "heartbeat_ms"?',
                     config=self.config(hartbeat_ms="5"))

    def test_syntax_error_names_file_and_line(self):
        self.refused(USAGE, "node.lua:2:", config=self.config("return {\n  id = = 1 }"))

    def test_missing_configuration_is_named(self):
        self.refused(ERROR, "no/such.lua", "No such file", config="no/such.lua")

    def test_node_that_is_no_member(self):
        self.refused(USAGE, 'id is "n7"', "n1, n2", flags=["--id", "n7"])

    def test_address_that_is_none(self):
        self.refused(USAGE, "client", "7117x", config=self.config(client='"127.0.0.1:7117x"'))

    def test_listening_to_the_world_must_be_asked_for(self):
        config = self.config(client=f'"0.0.0.0:{self.ports[0]}"')
        self.refused(USAGE, "client address 0.0.0.0", "--insecure", config=config)

    def test_check_starts_nothing(self):
        done = moonkeeper("start", "-c", self.config(), "--check")
        self.assertEqual(done.returncode, OK)
        self.assertIn("fine", done.stdout)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "data")))

    # -- scripts

    def script(self, text):
        path = os.path.join(self.folder, "broken.lua")
        with open(path, "w") as f:
            f.write(text)
        return self.config(apps=f'{{ {{ name = "broken", script = "{path}" }} }}')

    def test_syntax_error_in_a_script_names_file_and_line(self):
        self.refused(ERROR, "broken.lua:2:", config=self.script("local x = 1\nlocal = 2\n"))

    def test_unreadable_script_is_named(self):
        config = self.script("")
        os.unlink(os.path.join(self.folder, "broken.lua"))
        self.refused(ERROR, "broken.lua", config=config)

    def test_check_reads_the_scripts_too(self):
        self.refused(ERROR, "broken.lua:1:", config=self.script("x = = 1"), flags=["--check"])

    def test_check_finds_the_modules_that_a_lua_path_names(self):
        config = self.script('require "part"')
        self.refused(ERROR, "module 'part' not found", config=config, flags=["--check"])
        os.mkdir(os.path.join(self.folder, "tree"))
        with open(os.path.join(self.folder, "tree", "part.lua"), "w") as f:
            f.write("return 1")
        config = self.config(apps=f'{{ {{ script = "{self.folder}/broken.lua", lua_path = "{self.folder}/tree/?.lua" }} }}')
        done = moonkeeper("start", "-c", config, "--check")
        self.assertEqual((done.returncode, done.stderr), (OK, ""))

    def test_check_asks_the_scripts_about_their_settings(self):
        jobs = '{ jobs = { { name = "a", scedule = "@daily", argv = {} } } }'
        config = self.config(apps='{ { script = "bundled:cron", config = %s } }' % jobs)
        self.refused(USAGE, "application cron: config: there is no key 'jobs[1].scedule',"
                     " did you mean 'schedule'?\n", "jobs[1].argv must have at least 1 element",
                     config=config, flags=["--check"])

    def test_no_bundled_script_takes_an_empty_prefix(self):
        apps = ",".join('{ script = "bundled:%s", config = { prefix = "" } }' % name
                        for name in ("cron", "tasks", "worker", "notify", "request"))
        done = self.refused(USAGE, config=self.config(apps="{ %s }" % apps), flags=["--check"])
        self.assertEqual(done.stderr.count("config: prefix must not be empty"), 5, done.stderr)

    def test_check_does_nothing_of_what_a_script_does(self):
        touched = os.path.join(self.folder, "touched")
        config = self.script("local mk = require 'moonkeeper'\n"
                             f"mk.exec.run {{ 'touch', '{touched}' }}\n"
                             "mk.config.declare { }\n")
        done = moonkeeper("start", "-c", config, "--check")
        self.assertEqual((done.returncode, done.stderr), (OK, ""))
        self.assertIn("broken: its settings are looked at when it starts", done.stdout)
        self.assertIn("broken.lua:2", done.stdout)
        self.assertFalse(os.path.exists(touched))

    # -- ports

    def test_ports_in_use_are_named(self):
        for port, what in zip(self.ports, ("client", "peer", "http")):
            with self.subTest(what), socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind(("127.0.0.1", port))
                other.listen()
                self.refused(ERROR, f"127.0.0.1:{port}", "in use")

    # -- data directories

    def test_directory_of_another_node(self):
        self.stopped(self.started(self.config()))
        config = self.config(id='"n2"', members=f'{{ {{ id = "n1", peer = "127.0.0.1:1" }},'
                                               f' {{ id = "n2", peer = "127.0.0.1:{self.ports[1]}" }} }}')
        self.refused(ERROR, f"{self.folder}/data", "n1", config=config)

    def test_directory_of_another_cluster(self):
        self.stopped(self.started(self.config()))
        self.refused(ERROR, f"{self.folder}/data", "cluster",
                     config=self.config(cluster='"other"'))

    def test_directory_in_use(self):
        self.started(self.config())
        self.ports = free_ports(3)
        self.refused(ERROR, f"{self.folder}/data", "in use", config=self.config(
            members='{ { id = "n1", peer = "127.0.0.1:%d" }, { id = "n2", peer = "127.0.0.1:1" } }'
            % self.ports[1]))

    def test_directory_that_cannot_be_made(self):
        with open(os.path.join(self.folder, "file"), "w"):
            pass
        self.refused(ERROR, "file/data", "--data-dir",
                     flags=["--data-dir", os.path.join(self.folder, "file", "data")])


class Words(unittest.TestCase):
    """What can be said without a node."""

    def refused(self, code, *args, says=(), env=None):
        done = moonkeeper(*args, env=env)
        self.assertEqual(done.returncode, code, done.stderr)
        for part in says:
            self.assertIn(part, done.stderr)
        return done

    def test_unknown_verb_suggests_the_nearest(self):
        self.refused(USAGE, "stauts", says=["did you mean status?"])
        self.refused(USAGE, "kv", "gett", "a", says=["did you mean kv get?"])

    def test_help_on_what_is_no_verb_suggests_the_nearest(self):
        self.refused(USAGE, "help", "stauts", says=["did you mean status?"])
        self.refused(USAGE, "-o", "json", "help", "stauts", says=["did you mean status?"])

    def test_dev_names_a_script_that_cannot_be_read_before_it_starts_anything(self):
        done = self.refused(ERROR, "dev", "no/such.lua", says=["no/such.lua", "No such file"])
        self.assertEqual(done.stdout, "")

    def test_unknown_flag_suggests_the_nearest(self):
        self.refused(USAGE, "status", "--timout", "1s", says=["did you mean --timeout?"])

    def test_missing_and_superfluous_arguments(self):
        self.refused(USAGE, "kv", "put", "a", says=["kv put KEY VALUE"])
        self.refused(USAGE, "status", "all", says=["too many"])
        self.refused(USAGE, "status", "--timeout", says=["needs a value"])
        self.refused(USAGE, "status", "--timeout", "soon", says=["500ms"])
        self.refused(USAGE, "status", "-o", "xml", says=["table, json or simple"])
        self.refused(USAGE, "propose", "kv", "set", "{", says=["ARGS: JSON, line 1, column 1"])
        self.refused(USAGE, "start", says=["-c FILE"])
        self.refused(USAGE)

    def test_no_node_there(self):
        port = free_ports(1)[0]
        done = self.refused(UNREACHABLE, "status", "-e", f"127.0.0.1:{port}",
                            says=[f"127.0.0.1:{port}", "try:"])
        self.assertEqual(done.stdout, "")
        done = self.refused(UNREACHABLE, "kv", "get", "a", "-o", "json",
                            env={"MOONKEEPER_ENDPOINTS": f"127.0.0.1:{port}"})
        self.assertEqual(json.loads(done.stderr)["error"]["code"], "unreachable")

    def test_lint_names_file_and_line(self):
        with tempfile.TemporaryDirectory() as folder:
            def wrong(name, text, *says):
                path = os.path.join(folder, name)
                with open(path, "w") as f:
                    f.write(text)
                self.refused(ERROR, "lint", path, says=says)
            wrong("a.lua", "local x\nlocal = 1\n", "a.lua:2:")
            wrong("b.sm.lua", "return {}\n", "b.sm.lua:")
            kv = os.path.join(os.path.dirname(__file__), "../../lua/moonkeeper/machines/kv.sm.lua")
            done = self.refused(ERROR, "lint", kv, "no/such.lua", says=["no/such.lua"])
            self.assertIn("kv.sm.lua: fine", done.stdout)

    def test_lint_runs_the_main_chunk_as_far_as_its_first_wait(self):
        with tempfile.TemporaryDirectory() as folder:
            def lint(code, text, *says, flags=()):
                path = os.path.join(folder, "a.lua")
                with open(path, "w") as f:
                    f.write('local mk = require "moonkeeper"\n' + text)
                done = moonkeeper("lint", path, *flags)
                self.assertEqual(done.returncode, code, done.stdout + done.stderr)
                for part in says:
                    self.assertIn(part, done.stderr if code else done.stdout)
            lint(ERROR, "mk.on('leader_redy', print)", "a.lua:2:", "did you mean 'leader_ready'?")
            lint(ERROR, "mk.config.get('n', 1).x = 2", "a.lua:2:")
            lint(ERROR, "error({}, 0)", "a.lua: (error object is a table value)")
            lint(OK, f"os.execute('touch {folder}/done') error 'not so far'", "a.lua: fine\n")
            self.assertFalse(os.path.exists(os.path.join(folder, "done")))
            # what only a configuration can give
            short = "a.lua: fine, as far as it comes without settings (-c FILE)\n  "
            needy = "mk.config.declare { url = { type = 'string', required = true } } mk.no_such()"
            lint(OK, needy, short + "config: url is missing\n")
            lint(OK, "assert(mk.config.get 'url')", short)
            lint(OK, "error('config: one of url and argv is needed', 0)", short)
            lint(ERROR, "mk.config.declare { n = { type = 'integer' } } mk.no_such()", "a.lua:2:")
            lint(OK, "require 'inspect'", short, "a.lua:2: module 'inspect' not found:")
            config = os.path.join(folder, "node.lua")

            def configured(settings):
                with open(config, "w") as f:
                    f.write('return { cluster = "c", id = "n1", members = { { id = "n1", peer = "127.0.0.1:1" } },'
                            f' apps = {{ {{ script = "{folder}/a.lua", config = {settings} }} }} }}')
            configured("{ url = 'x' }")
            lint(ERROR, needy, "application a: ", "a.lua:2: there is no mk.no_such", flags=["-c", config])
            lint(OK, needy.replace("mk.no_such()", ""), "node.lua: fine\n", flags=["-c", config])
            configured("{ ulr = 'x' }")
            lint(USAGE, needy, "config: there is no key 'ulr'", "config: url is missing", flags=["-c", config])
        self.refused(USAGE, "lint", says=["lint -c FILE"])

    def test_lint_takes_what_is_shipped(self):
        root = os.path.join(os.path.dirname(__file__), "../..")
        names = ["cron", "demo", "notify", "request", "tasks", "worker"]
        done = moonkeeper("lint", *["bundled:" + name for name in names])
        self.assertEqual((done.returncode, done.stderr), (OK, ""))
        for name in names:
            self.assertIn(f"bundled:{name}: fine", done.stdout)
            conf = os.path.join(root, "conf", name + ".lua")
            if os.path.exists(conf):
                configured = moonkeeper("lint", "-c", conf)
                self.assertEqual((configured.returncode, configured.stderr), (OK, ""))

    def test_completion_for_bash_completes(self):
        script = moonkeeper("completion", "bash").stdout
        for line, expected in (("moonkeeper sta", "start status"), ("moonkeeper kv p", "put"),
                               ("moonkeeper dev --no", "--nodes"), ("moonkeeper machines ", "list load")):
            words = line.split(" ")
            done = subprocess.run(["bash", "-c", f'{script}\nCOMP_WORDS=({line.strip()}); COMP_CWORD={len(words) - 1}; '
                                   f'_moonkeeper "{BINARY}"; echo "${{COMPREPLY[*]}}"'],
                                  stdout=subprocess.PIPE, text=True, timeout=30, env=environment())
            self.assertEqual(done.stdout.strip(), expected)
        self.assertIn("#compdef moonkeeper", moonkeeper("completion", "zsh").stdout)
        self.refused(USAGE, "completion", "fish", says=["bash or zsh"])

    def test_endpoints_that_make_no_sense(self):
        for bad in ("127.0.0.1:70000", "127.0.0.1:http", ",", "a,,b"):
            self.refused(USAGE, "status", "-e", bad, says=["--endpoints"])

    def test_flags_of_all_verbs_may_stand_before_the_verb(self):
        port = free_ports(1)[0]
        done = self.refused(UNREACHABLE, "-o", "json", "-e", f"127.0.0.1:{port}", "kv", "get", "a")
        self.assertEqual(json.loads(done.stderr)["error"]["code"], "unreachable")
        self.refused(UNREACHABLE, "kv", "-e", f"127.0.0.1:{port}", "get", "a")
        self.refused(USAGE, "-o", "json", says=["which verb?"])
        self.refused(USAGE, "--timout", "1s", "status", says=["did you mean --timeout?"])

    def test_a_lock_without_a_name_does_not_take_the_command_for_one(self):
        self.refused(USAGE, "lock", "--", "true", says=["lock NAME"])

    def test_every_verb_explains_itself(self):
        verbs = re.findall(r"^  ([a-z-]+)", moonkeeper("help").stdout, re.MULTILINE)
        self.assertGreater(len(verbs), 20)
        for verb in set(verbs) - {"help"}:
            with self.subTest(verb):
                done = moonkeeper(verb, "--help")
                self.assertEqual(done.returncode, OK)
                self.assertIn(f"Usage: moonkeeper {verb}", done.stdout)
                self.assertEqual(moonkeeper("help", verb).stdout, done.stdout)
        for words in (("-e", "127.0.0.1:1", "help", "kv"), ("help", "-o", "json", "kv")):
            self.assertEqual(moonkeeper(*words).stdout, moonkeeper("kv", "--help").stdout)

    def test_help_fits_a_terminal_and_names_all_that_a_verb_can_be_told_to_do(self):
        pages = {"help": moonkeeper("help").stdout}
        for verb in re.findall(r"^  ([a-z-]+)", pages["help"], re.MULTILINE):
            pages[verb] = moonkeeper(verb, "--help").stdout
            for action in re.findall(rf"^  {verb} ([a-z]+)", pages[verb], re.MULTILINE):
                pages[f"{verb} {action}"] = moonkeeper(verb, action, "--help").stdout
                self.assertIn(f"Usage: moonkeeper {verb} {action}", pages[f"{verb} {action}"])
        for page in ("kv put", "tasks submit", "cron simulate", "machines load"):
            self.assertIn(page, pages)
        wide = [(page, line) for page, text in pages.items() for line in text.splitlines() if len(line) > 80]
        self.assertEqual(wide, [])


class Answers(unittest.TestCase):
    """What a cluster's answers turn into."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BINARY)
        cls.cluster.__enter__()
        cls.cluster.wait_leader()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def call(self, code, *args, node=0):
        done = moonkeeper(*args, "-e", f"127.0.0.1:{self.cluster.nodes[node].client}")
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def test_a_write_through_any_node_is_read_through_any_other(self):
        for i in range(3):
            self.call(OK, "kv", "put", f"any/{i}", f"value {i}", node=i)
        for i in range(3):
            done = self.call(OK, "kv", "get", f"any/{(i + 1) % 3}", node=i)
            self.assertEqual(done.stdout, f"value {(i + 1) % 3}\n")
        done = self.call(OK, "kv", "list", "any/", "-o", "simple")
        self.assertEqual(done.stdout.split(), ["any/0", "any/1", "any/2"])
        self.call(OK, "kv", "del", "any/0")
        self.call(ERROR, "kv", "get", "any/0")

    def test_a_version_that_does_not_hold_is_a_conflict(self):
        self.call(OK, "kv", "put", "once", "x", "--if-version", "0")
        done = self.call(CONFLICT, "kv", "put", "once", "y", "--if-version", "0")
        self.assertIn("version", done.stderr)
        got = json.loads(self.call(OK, "kv", "get", "once", "-o", "json").stdout)
        self.assertEqual(got["value"], "x")
        self.call(OK, "kv", "put", "once", "z", "--if-version", str(got["version"]))

    def test_a_list_is_whole_and_commands_no_terminal(self):
        for part in range(0, 250, 125):  # a transaction has at most 128 operations
            ops = [{"op": "set", "key": f"long/{i:03}", "value": "\x1b[31m\nx"}
                   for i in range(part, part + 125)]
            self.call(OK, "propose", "kv", "txn", json.dumps({"ops": ops}))
        done = self.call(OK, "kv", "list", "long/", "-o", "simple")
        self.assertEqual(len(done.stdout.split()), 250)
        done = self.call(OK, "kv", "list", "long/")
        self.assertEqual(len(done.stdout.splitlines()), 251)
        self.assertIn("\\x1b[31m\\x0ax", done.stdout)
        self.assertNotIn("\x1b", done.stdout)
        done = self.call(OK, "kv", "list", "long/", "--limit", "2", "--after", "long/100", "-o", "simple")
        self.assertEqual(done.stdout.split(), ["long/101", "long/102"])

    def test_integers_and_structure_survive_json(self):
        text = '{"big":9007199254740993,"list":[],"map":{"a":[1,-2,2.5,true,null]}}'
        self.call(OK, "kv", "put", "json", text, "--json")
        got = json.loads(self.call(OK, "kv", "get", "json", "-o", "json").stdout)
        self.assertEqual(got["value"], json.loads(text))

    def test_status_names_all_nodes_and_one_leader(self):
        done = self.call(OK, "status", "-o", "json")
        status = json.loads(done.stdout)
        self.assertEqual([n["id"] for n in status["nodes"]], ["n1", "n2", "n3"])
        self.assertEqual(sum(n["role"] == "leader" for n in status["nodes"]), 1)
        self.assertIn("3 of 3 nodes answer", self.call(OK, "status").stdout)

    def test_errors_of_a_machine_are_told(self):
        self.assertIn("nosuch", self.call(ERROR, "propose", "nosuch", "cmd").stderr)
        self.assertIn("nosuch", self.call(ERROR, "propose", "kv", "nosuch").stderr)
        self.assertIn('no member "n9"', self.call(ERROR, "transfer", "n9").stderr)

    def test_only_the_leader_takes_what_must_not_be_forwarded(self):
        leader = self.cluster.wait_leader().name
        other = next(i for i, x in enumerate(self.cluster.nodes) if x.name != leader)
        done = self.call(NO_LEADER, "propose", "kv", "set", '{"key":"a","value":1}', "--no-forward",
                         node=other)
        self.assertIn(f"{leader} is", done.stderr)

    def test_transfer_to_the_leader_has_nothing_to_do(self):
        leader = self.cluster.wait_leader().name
        self.assertEqual(self.call(OK, "transfer", leader).stdout, f"{leader} leads now\n")

    def test_transfer_names_the_new_leader(self):
        leader = self.cluster.wait_leader().name
        target = next(x.name for x in self.cluster.nodes if x.name != leader)
        self.assertEqual(self.call(OK, "transfer", target).stdout, f"{target} leads now\n")
        wait_until(lambda: (self.cluster.leader() or leader) != leader, 10, "another leader")


    def test_a_state_machine_is_loaded_and_listed(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "counter.sm.lua")

            def write(version, body):
                with open(path, "w") as f:
                    f.write('return { name = "counter", version = %d,\n'
                            "  apply = { add = function(st, args) %s end } }\n" % (version, body))
            write(1, "st.n = (st.n or 0) + args.by; return st.n")
            self.assertEqual(self.call(OK, "machines", "load", path).stdout,
                             "counter: version 1 is installed\n")
            self.call(OK, "machines", "load", path, node=1)  # the same again changes nothing
            self.assertEqual(self.call(OK, "propose", "counter", "add", '{"by":5}').stdout, "5\n")
            names = self.call(OK, "machines", "list", "-o", "simple", node=2)
            self.assertEqual(names.stdout.split(), ["counter", "kv"])
            write(1, "return 0")
            self.call(CONFLICT, "machines", "load", path)
            write(2, "st.n = 0; return 0")
            self.call(OK, "machines", "load", path)
            self.assertRegex(self.call(OK, "machines", "list").stdout, r"(?m)^counter +2  [0-9a-f]{16}$")

    def test_a_value_may_come_from_stdin(self):
        for args, text, expected in ((["-"], "from\nstdin\n", "from\nstdin\n"), (["--json", "-"], "[1]", [1])):
            done = subprocess.run([BINARY, "kv", "put", "stdin", *args, "-e",
                                   f"127.0.0.1:{self.cluster.nodes[0].client}"], input=text, text=True,
                                  stdout=subprocess.PIPE, timeout=30, env=environment())
            self.assertEqual(done.returncode, OK)
            got = json.loads(self.call(OK, "-o", "json", "kv", "get", "stdin").stdout)
            self.assertEqual(got["value"], expected)

    def test_another_port_of_a_node_says_which_it_is_at_once(self):
        node = self.cluster.nodes[0]
        for port, says in ((node.http, "this is the HTTP port"), (node.peer, "for other nodes")):
            done = moonkeeper("kv", "put", "a", "b", "-e", f"127.0.0.1:{port}", timeout=3)
            self.assertEqual(done.returncode, UNREACHABLE, done.stderr)
            self.assertIn("is not a client port", done.stderr)
            self.assertIn(says, done.stderr)
        for port, says in ((node.client, "this is the client port"), (node.peer, "for other nodes")):
            with self.assertRaises(urllib.error.HTTPError) as refusal:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=3)
            with refusal.exception as answer:
                self.assertIn(says, answer.read().decode())

    def http_status(self, path):
        url = f"http://127.0.0.1:{self.cluster.nodes[0].http}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as refusal:
            with refusal:
                self.assertIn("message", json.load(refusal)["error"])
                return refusal.code

    def test_http_tells_what_is_not_there_and_what_makes_no_sense(self):
        self.call(OK, "kv", "put", "there", "x")
        self.assertEqual(self.http_status("/kv/there"), 200)
        self.assertEqual(self.http_status("/kv/not-there"), 404)
        self.assertEqual(self.http_status("/nonsense"), 404)
        self.assertEqual(self.http_status("/follower?lag=few"), 400)


class Wiped(unittest.TestCase):
    """A node that comes back with an empty directory under its old name."""

    def setUp(self):
        self.cluster = Cluster(BINARY)
        self.cluster.__enter__()

    def tearDown(self):
        self.cluster.__exit__(*failure(self))

    def test_it_ends_with_the_recipe_once_most_of_its_peers_refused_it(self):
        leader = self.cluster.wait_leader()
        wiped, other = (x for x in self.cluster.nodes if x is not leader)
        self.assertEqual(wiped.stop(), OK)
        self.assertEqual(other.stop(), OK)
        shutil.rmtree(wiped.data)
        os.unlink(wiped.log)
        wiped.start()

        def said():
            with open(wiped.log) as f:
                return f.read()
        wait_until(lambda: "handshake refused" in said(), 10, "a refusal")
        self.assertIsNone(wiped.process.poll())  # one of two peers is no majority
        other.start()
        self.assertEqual(wiped.process.wait(20), ERROR)
        errors = [line for line in said().splitlines() if "level=error" in line]
        self.assertEqual(len(errors), 1, errors)
        for part in ("err=wrong_node", "wiped", "restore its old directory", "another id"):
            self.assertIn(part, errors[0])
        self.cluster.wait_leader()


class Alone(unittest.TestCase):
    """One node of three: no majority, no leader."""

    def test_no_leader_has_its_own_exit_code(self):
        cluster = Cluster(BINARY)
        node = cluster.nodes[0]
        try:
            node.start()
            wait_until(node.status, 10, "an answer")
            there = ["-e", f"127.0.0.1:{node.client}"]
            done = moonkeeper("kv", "put", "a", "b", "--timeout", "300ms", *there)
            self.assertEqual(done.returncode, NO_LEADER, done.stderr)
            self.assertIn("no leader is known", done.stderr)
            self.assertIn("try:", done.stderr)
            done = moonkeeper("kv", "get", "a", "--timeout", "300ms", *there)
            self.assertEqual(done.returncode, NO_LEADER, done.stderr)
            done = moonkeeper("status", *there)
            self.assertEqual(done.returncode, NO_LEADER)
            self.assertIn("there is no leader", done.stdout)
            self.assertIn("1 of 3 nodes answer", done.stdout)

            def attempts():
                with open(node.log) as f:
                    return re.findall(r'"pre-vote started".* attempt=(\d+)', f.read())
            wait_until(lambda: "8" in attempts(), 20, "the eighth attempt at an election")
            self.assertEqual(attempts(), ["1", "2", "4", "8"])  # the longer, the rarer
        finally:
            cluster.__exit__(None, None, None)


if __name__ == "__main__":
    main()
