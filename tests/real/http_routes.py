#!/usr/bin/env python3
"""HTTP: health and role checks, kv and proposals, redirects, live events and the status page."""
import http.client
import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, wait_until  # noqa: E402
from command import BINARY, main  # noqa: E402


class Answer:
    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read().decode()

    def json(self):
        return json.loads(self.body)


class WithCluster(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BINARY)
        cls.cluster.__enter__()
        leader = cls.cluster.wait_settled()
        wait_until(lambda: all(m["http"] for x in cls.cluster.nodes for m in x.status()["members"]),
                   10, "all to have heard of all")
        cls.leader = leader
        cls.follower = next(x for x in cls.cluster.nodes if x is not leader)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def ask(self, node, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", node.http, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def watch(self, node, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", node.http, timeout=10)
        self.addCleanup(connection.close)
        connection.request("GET", "/events", headers=headers or {})
        answer = connection.getresponse()
        self.addCleanup(answer.close)
        answer.connection = connection
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["Content-Type"], "text/event-stream")
        return answer

    def next_event(self, answer):
        """{"event", "id", "data"} of the next one."""
        fields = {}
        while True:
            line = answer.readline().decode()
            self.assertNotEqual(line, "", "the stream has ended")
            if line == "\n":
                return dict(fields, data=json.loads(fields["data"]))
            name, value = line.rstrip("\n").split(": ", 1)
            fields[name] = value

    def until(self, answer, name):
        while True:
            event = self.next_event(answer)
            if event["event"] == name:
                return event


class Http(WithCluster):
    def answered(self, node, path, status, body):
        got = self.ask(node, "GET", path)
        self.assertEqual((got.status, got.body), (status, body), path)

    def failed(self, got, status, code):
        self.assertEqual(got.status, status, got.body)
        self.assertEqual(got.headers["Content-Type"], "application/json")
        error = got.json()["error"]
        self.assertEqual(sorted(error), ["code", "message"])
        self.assertEqual(error["code"], code)
        return error["message"]

    def test_health_and_roles_are_told_to_load_balancers(self):
        for node, leader, follower in ((self.leader, 200, 503), (self.follower, 503, 200)):
            self.answered(node, "/healthz", 200, "ok\n")
            self.answered(node, "/livez", 200, "ok\n")
            self.answered(node, "/readyz", 200, "ok\n")
            self.answered(node, "/leader", leader, "leader\n" if leader == 200 else "not the leader\n")
            self.answered(node, "/follower", follower,
                          "follower\n" if follower == 200 else "not a follower\n")
        self.answered(self.follower, "/follower?lag=1000000", 200, "follower\n")
        self.failed(self.ask(self.follower, "GET", "/follower?lag=-1"), 400, "invalid")
        head = self.ask(self.leader, "HEAD", "/leader")
        self.assertEqual((head.status, head.body, head.headers["Content-Length"]), (200, "", "7"))

    def test_a_node_without_a_leader_lives_and_is_not_ready(self):
        alone = Cluster(BINARY)
        try:
            node = alone.nodes[0]
            node.start()
            wait_until(node.status, 10, "an answer")
            self.answered(node, "/livez", 200, "ok\n")
            self.answered(node, "/readyz", 503, "no leader is known\n")
            self.answered(node, "/leader", 503, "not the leader\n")
            self.failed(self.ask(node, "PUT", "/kv/a?redirect=1", "x"), 503, "not_leader")
        finally:
            alone.__exit__(None, None, None)

    def test_status_is_json_and_names_all_members(self):
        status = self.ask(self.follower, "GET", "/status").json()
        self.assertEqual((status["id"], status["leader"], status["role"]),
                         (self.follower.name, self.leader.name, "follower"))
        self.assertEqual({m["id"]: m["http"] for m in status["members"]},
                         {x.name: f"127.0.0.1:{x.http}" for x in self.cluster.nodes})

    def test_metrics_are_in_the_text_format_of_prometheus(self):
        got = self.ask(self.leader, "GET", "/metrics")
        self.assertIn("text/plain", got.headers["Content-Type"])
        self.assertRegex(got.body, r"(?m)^moonkeeper_raft_is_leader 1$")
        self.assertRegex(self.ask(self.follower, "GET", "/metrics").body,
                         r"(?m)^moonkeeper_raft_is_leader 0$")

    def test_values_are_written_and_read_through_any_node(self):
        for writer, reader in ((self.leader, self.follower), (self.follower, self.leader)):
            put = self.ask(writer, "PUT", "/kv/http/%C3%A4", "value of " + writer.name)
            self.assertEqual(put.status, 200, put.body)
            got = self.ask(reader, "GET", "/kv/http/%C3%A4")
            self.assertEqual(got.json()["value"], "value of " + writer.name)
        self.assertEqual(self.ask(self.leader, "DELETE", "/kv/http/%C3%A4").status, 200)
        self.failed(self.ask(self.leader, "GET", "/kv/http/%C3%A4"), 404, "not_found")
        self.failed(self.ask(self.leader, "PATCH", "/kv/a"), 405, "invalid")

    def test_proposals_and_what_is_wrong_with_them(self):
        command = {"machine": "kv", "command": "set", "args": {"key": "p", "value": [1, 2**53 + 1]}}
        done = self.ask(self.follower, "POST", "/propose", json.dumps(command))
        self.assertEqual(done.status, 200, done.body)
        self.assertEqual(self.ask(self.leader, "GET", "/kv/p").json()["value"], [1, 2**53 + 1])
        command["args"]["if_version"] = 1000000
        self.failed(self.ask(self.leader, "POST", "/propose", json.dumps(command)), 409, "conflict")
        message = self.failed(self.ask(self.leader, "POST", "/propose", '{"a":\n1,}'), 400, "invalid")
        self.assertIn("line 2", message)
        self.failed(self.ask(self.leader, "POST", "/propose", "{}"), 400, "invalid")
        self.failed(self.ask(self.leader, "GET", "/propose"), 405, "invalid")
        message = self.failed(self.ask(self.leader, "GET", "/nothing"), 404, "not_found")
        self.assertIn("/healthz", message)

    def test_who_wants_the_leader_itself_is_sent_there(self):
        command = json.dumps({"machine": "kv", "command": "set", "args": {"key": "r", "value": 1}})
        for method, path, body in (("PUT", "/kv/a%20b?redirect=1", "x"),
                                   ("POST", "/propose?redirect=1", command)):
            got = self.ask(self.follower, method, path, body)
            self.assertEqual(got.status, 307)
            self.assertEqual(got.headers["Location"], f"http://127.0.0.1:{self.leader.http}{path}")
            self.assertEqual(self.ask(self.leader, method, path, body).status, 200)

    def test_pages_of_others_do_not_write(self):
        own = f"127.0.0.1:{self.leader.http}"
        for origin, status in (("http://evil.example", 403), ("null", 403), ("http://" + own, 200)):
            headers = {"Origin": origin, "Content-Type": "text/plain"}
            self.assertEqual(self.ask(self.leader, "PUT", "/kv/o", "x", headers).status, status)
            body = json.dumps({"machine": "kv", "command": "get", "args": {}})
            self.assertEqual(self.ask(self.leader, "POST", "/propose", body, headers).status == 403,
                             status == 403)
            self.assertEqual(self.ask(self.leader, "GET", "/status", None, headers).status, 200)

    def test_the_page_needs_nothing_from_elsewhere(self):
        got = self.ask(self.follower, "GET", "/")
        self.assertEqual(got.status, 200)
        self.assertEqual(got.headers["Content-Type"], "text/html; charset=utf-8")
        self.assertIn("default-src 'none'", got.headers["Content-Security-Policy"])
        self.assertLess(len(got.body), 32768)
        elsewhere = re.findall(r"https?://[^'\"\s)]+", got.body)
        self.assertEqual(set(elsewhere), {"http://www.w3.org/2000/svg"})  # a name space, not an address
        self.assertNotIn("innerHTML", got.body)

    def test_events_of_the_past_come_first_then_the_cluster(self):
        stream = self.watch(self.follower)
        elected = self.until(stream, "leader_elected")
        self.assertEqual(elected["data"]["fields"]["leader_id"], self.leader.name)
        self.assertGreaterEqual(elected["data"]["term"], 1)
        look = self.until(stream, "cluster")["data"]
        self.assertEqual(look["asked"], self.follower.name)
        self.assertEqual(sorted((x["id"], x["role"]) for x in look["nodes"]),
                         sorted((x.name, "leader" if x is self.leader else "follower")
                                for x in self.cluster.nodes))
        self.assertEqual(look["hooks"], [])
        again = self.watch(self.follower, {"Last-Event-ID": elected["id"]})
        while True:  # what was seen is not sent again
            event = self.next_event(again)
            if event["event"] == "cluster":
                break
            self.assertGreater(int(event["id"]), int(elected["id"]))

    def test_too_many_watchers_are_refused_and_leave_room_when_they_go(self):
        streams = [self.watch(self.follower) for _ in range(64)]
        self.failed(self.ask(self.follower, "GET", "/events"), 503, "busy")
        self.until(streams[63], "cluster")
        for stream in streams:
            stream.connection.close()
            stream.close()

        def room():
            connection = http.client.HTTPConnection("127.0.0.1", self.follower.http, timeout=10)
            connection.request("GET", "/events")
            try:
                return connection.getresponse().status == 200
            finally:
                connection.close()
        wait_until(room, 10, "room")


class LargeCommands(unittest.TestCase):
    """limits.proposal_bytes says what may be sent, over HTTP as well."""

    def put(self, node, size):
        connection = http.client.HTTPConnection("127.0.0.1", node.http, timeout=20)
        try:
            connection.request("PUT", "/kv/large", b"x" * size)
            return connection.getresponse().status
        finally:
            connection.close()

    def test_a_command_as_large_as_is_allowed_gets_in(self):
        with Cluster(BINARY, n=1, extra=f"limits = {{ proposal_bytes = {8 << 20} }},") as cluster:
            node = cluster.wait_leader()
            self.assertEqual(self.put(node, (8 << 20) - 1000), 200)
            self.assertEqual(self.put(node, (8 << 20) + 1000), 413)  # read, and told what is wrong
            self.assertEqual(self.put(node, 1), 200)


class LiveEvents(WithCluster):
    """An election, as it happens."""

    def test_a_change_of_leader_is_seen_as_it_happens(self):
        watcher = next(x for x in self.cluster.nodes if x not in (self.leader, self.follower))
        stream = self.watch(watcher)
        self.until(stream, "cluster")
        self.leader.kill()
        elected = self.until(stream, "leader_elected")["data"]
        self.assertNotEqual(elected["fields"]["leader_id"], self.leader.name)


if __name__ == "__main__":
    main()
