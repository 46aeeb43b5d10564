"""A MessagePack-RPC client that someone else wrote, for foreign_client.py: Debian's python3-pynvim, which
is made for Neovim and speaks the public specification. Prints what it was answered as one line of JSON.

    pynvim_client.py PORT
"""
import json
import sys

from pynvim.msgpack_rpc import ErrorResponse, tcp_session


def failure(session, method, *params):
    try:
        session.request(method, *params)
    except ErrorResponse as e:
        return e.args[0]
    return None


session = tcp_session("127.0.0.1", int(sys.argv[1]))  # says first who it is: a method we do not have
session.error_wrapper = ErrorResponse
session.request("propose", "kv", "set", {"key": "note", "value": 1}, async_=True)  # a notification
answers = {
    "status": session.request("status"),
    "set": session.request("propose", "kv", "set", {"key": "foreign", "value": [1, -2, 2.5, "ü", None]}),
    "get": session.request("query", "kv", "get", {"key": "foreign"}),
    "many": [session.request("propose", "kv", "set", {"key": "n", "value": i})["version"]
             for i in range(100)],
    "unknown_method": failure(session, "nosuch"),
    "unknown_machine": failure(session, "propose", "nosuch", "set", {}),
}
# Commands of one connection are committed in its order.
answers["after_notification"] = session.request("query", "kv", "get", {"key": "note"})
session.close()
print(json.dumps(answers))
