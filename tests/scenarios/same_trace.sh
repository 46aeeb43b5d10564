#!/bin/sh
# A run is a pure function of its seed: two processes write the same trace, step by step.
set -eu
moonkeeper=$1
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# All but the week of cron, which takes longer than the rest: its script is played in chaos/.
set -- "$here/chaos/cron.lua"
for file in "$here"/*.lua; do
    [ "${file##*/}" = script_cron.lua ] || set -- "$@" "$file"
done
"$moonkeeper" test "$@" --seed 3 --trace "$work/1" >"$work/said.1" &
other=$!
if ! "$moonkeeper" test "$@" --seed 3 --trace "$work/2" >"$work/said.2" || ! wait "$other"; then
    grep -v '^  ok ' "$work/said.2"
    exit 1
fi
if ! cmp "$work/1" "$work/2"; then
    echo "the same seed did something else the second time"
    exit 1
fi
lines=$(wc -l <"$work/1")
if [ "$lines" -lt 1000 ]; then
    echo "the trace has only $lines lines"
    exit 1
fi
echo "$lines lines, twice the same"
