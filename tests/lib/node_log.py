"""What a node has logged, as dictionaries: logfmt, which is what it writes where there is no terminal."""
import re

PAIR = re.compile(r'([a-zA-Z0-9_.]+)=("(?:[^"\\]|\\.)*"|\S*)')


def parse(line):
    out = {}
    for key, value in PAIR.findall(line):
        if value.startswith('"'):
            value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
        out[key] = value
    return out


def lines(node, msg=None):
    """Of this node and its predecessors, in order; those with that message, if one is given. The last line
    may be under way: it is left out until its end is there."""
    with open(node.log, encoding="utf-8", errors="replace") as f:
        text = f.read()
    parsed = (parse(line) for line in text.split("\n")[:-1])
    return [line for line in parsed if msg is None or line.get("msg") == msg]
