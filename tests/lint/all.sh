#!/bin/sh
# What is checked without running the code: all.sh BUILD-FOLDER [CHECK...] (the folder for
# compile_commands.json; all checks if none is named). Runs them all, then fails if any did.
set -eu
cd "$(dirname "$0")/../.."
build=$1
shift
wanted=" $* "
known=
failed=

check() {
    name=$1
    shift
    known="$known $name"
    case $wanted in
    "  " | *" $name "*) ;;
    *) return ;;
    esac
    if "$@"; then
        echo "ok    $name"
    else
        echo "FAIL  $name"
        failed="$failed $name"
    fi
}

format() {
    find src tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror
}

# The analyzer follows a function through 50,000 states instead of 225,000: a third of the time, and
# nothing less was found.
tidy() {
    found=$(find src -name '*.c' -print0 |
        xargs -0 -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build" --extra-arg=-Xclang \
            --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg=max-nodes=50000 2>&1 |
        grep -E '(warning|error):' -A4 || true)
    [ -z "$found" ] || { echo "$found" && false; }
}

# Each header can be included first.
headers() {
    flags=$(pkg-config --cflags lua5.4)
    # shellcheck disable=SC2086 # flags are several
    find src -name '*.h' -print0 | xargs -0 -P "$(nproc)" -I{} cc -std=gnu11 -fsyntax-only -Isrc $flags -x c {}
}

lua() {
    # Machines and the node's own modules have globals of their own; .luacheckrc says which.
    find lua scripts conf tests -name '*.lua' -not -path '*/meta/*' -print0 |
        xargs -0 -r luacheck --quiet
}

# What runs in a node, with what a node has: the same check that users are told of.
lua_in_nodes() {
    luacheck --quiet --config lua/moonkeeper.luacheckrc scripts tests/scenarios/scripts
}

# Every program compiles; nothing is written beside it.
python() {
    { find tests -name '*.py' -print0 && git grep -lz '^#!.*python3' -- tests; } | xargs -0 python3 -c '
import sys
for path in sys.argv[1:]:
    with open(path, "rb") as source:
        compile(source.read(), path, "exec", dont_inherit=True)
'
}

shell() {
    git grep -lzE '^#!/bin/(ba)?sh' -- ./do .ci tests | xargs -0 shellcheck
}

check format format
check headers headers
check layers tests/lint/layers.sh
check forbidden tests/lint/forbidden.sh
check luacheck lua
check luacheck-node lua_in_nodes
check python python
check shellcheck shell
check clang-tidy tidy

for name in $wanted; do
    case "$known " in
    *" $name "*) ;;
    *) echo "there is no check \"$name\"; there are:$known" && exit 2 ;;
    esac
done
if [ -n "$failed" ]; then
    echo "failed:$failed"
    exit 1
fi
