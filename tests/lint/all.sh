#!/bin/sh
# Everything that is checked without running the code: all.sh BUILD-FOLDER (for compile_commands.json).
# Runs all checks, then fails if any did.
set -eu
cd "$(dirname "$0")/../.."
build=$1
failed=

check() {
    name=$1
    shift
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

lua() {
    # Machines and the node's own modules have globals of their own; .luacheckrc says which.
    find lua scripts conf tests -name '*.lua' -not -path '*/meta/*' -print0 |
        xargs -0 -r luacheck --quiet
}

shell() {
    find .ci tests -type f \( -name '*.sh' -o -name run \) -print0 | xargs -0 shellcheck ./do
}

check format format
check layers tests/lint/layers.sh
check forbidden tests/lint/forbidden.sh
check luacheck lua
check shellcheck shell
check clang-tidy tidy

if [ -n "$failed" ]; then
    echo "failed:$failed"
    exit 1
fi
