"""A client as it should be: one that does not give up when a node does."""
import time

from msgpack_rpc import Client, RpcError

# Another node, or the same one a little later, may well say yes. outcome_unknown is among them: send such
# a command again only under an id, so that it takes effect once.
RETRY = {"not_leader", "outcome_unknown", "timeout", "busy", "shutdown", "unreachable"}


class Persistent:
    """Calls until some node of the cluster answers. retries counts the vain attempts."""

    def __init__(self, nodes, first=0):
        self.nodes, self.turn = nodes, first
        self.connection = None
        self.retries = 0

    def call(self, method, *params, timeout=4.0):
        while True:
            try:
                if self.connection is None:
                    node = self.nodes[self.turn % len(self.nodes)]
                    self.connection = Client(f"127.0.0.1:{node.client}", 1.0)
                return self.connection.call(method, *params, timeout=timeout)
            except RpcError as e:
                if e.code not in RETRY:
                    raise
            except OSError:
                pass
            self.close()
            self.retries += 1
            self.turn += 1
            time.sleep(0.002)

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None
