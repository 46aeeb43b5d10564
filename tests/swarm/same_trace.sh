#!/bin/sh
# One seed is the whole run: separate processes come to the same trace hash for each seed.
set -eu
first=$("$1" --seeds 20 --start 900 --jobs 2 --hashes 2>/dev/null | grep -v '^swarm' | sort)
second=$("$1" --seeds 20 --start 900 --jobs 1 --hashes 2>/dev/null | grep -v '^swarm' | sort)
if [ -z "$first" ] || [ "$first" != "$second" ]; then
    echo "the same seeds left different traces:"
    echo "$first"
    echo "--"
    echo "$second"
    exit 1
fi
