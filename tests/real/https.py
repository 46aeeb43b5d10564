#!/usr/bin/env python3
"""mk.http over https: certificates are held against the system's, and against the name of the host."""
import http.server
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import reserve_port, wait_until  # noqa: E402
from command import BINARY, environment, main  # noqa: E402

SCRIPT = """
local mk = require "moonkeeper"
for _, url in ipairs(mk.config.get "urls") do
  local r, err = mk.http.get(url, { timeout_ms = 5000 })
  mk.log.info("asked", { url = url, got = r and r.status .. " " .. r.body or tostring(err) })
end
mk.log.info("all asked")
"""

CONFIG = """
return { cluster = "https", id = "n1", members = { { id = "n1", peer = "127.0.0.1:%d" } },
  client = "127.0.0.1:%d", http = false, data_dir = "%s/data",
  apps = { { name = "ask", script = "%s/ask.lua", config = { urls = { %s } } } } }
"""


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *args):
        pass


class Https(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moonkeeper-")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.cert, key = os.path.join(self.folder, "cert.pem"), os.path.join(self.folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                        "-keyout", key, "-out", self.cert], check=True, capture_output=True)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *args: None  # who refuses our certificate goes
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def ask(self, *hosts, **env):
        """What a node's script got from each of these hosts: {host: text}."""
        port = self.server.server_address[1]
        urls = {f"https://{host}:{port}/": host for host in hosts}
        config = os.path.join(self.folder, "node.lua")
        with open(os.path.join(self.folder, "ask.lua"), "w") as f:
            f.write(SCRIPT)
        with open(config, "w") as f:
            f.write(CONFIG % (reserve_port(), reserve_port(), self.folder, self.folder,
                              ", ".join(f'"{url}"' for url in urls)))
        log = os.path.join(self.folder, "log")
        with open(log, "wb") as f:
            node = subprocess.Popen([BINARY, "start", "-c", config], stderr=f,
                                    env=environment(env))
        try:
            def said():
                with open(log) as f:
                    return f.read()
            wait_until(lambda: "all asked" in said(), 30, "all requests to end")
        finally:
            node.terminate()
            node.wait()
        return {host: next(line for line in said().splitlines() if url in line and "asked" in line)
                for url, host in urls.items()}

    def test_a_certificate_of_a_stranger_is_refused_in_words(self):
        got = self.ask("localhost")
        self.assertIn("unreachable", got["localhost"])
        self.assertIn("its certificate is refused: self", got["localhost"])

    def test_a_certificate_that_is_trusted_is_for_its_host_alone(self):
        got = self.ask("localhost", "127.0.0.1", SSL_CERT_FILE=self.cert)
        self.assertIn("200 hello", got["localhost"])
        self.assertIn("its certificate is refused: IP address mismatch", got["127.0.0.1"])


if __name__ == "__main__":
    main()
