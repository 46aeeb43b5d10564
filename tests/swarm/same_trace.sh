#!/bin/sh
# One seed is the whole run: two programs, started anew, come to the same traces, whatever the order.
set -eu
hash() {
    "$moonkeeper" test --swarm --seed 900 --seeds 20 --jobs "$1" 2>/dev/null |
        sed -n 's/.*trace hash \([0-9a-f]*\)$/\1/p'
}
moonkeeper=$1
first=$(hash 2)
second=$(hash 1)
if [ -z "$first" ] || [ "$first" != "$second" ]; then
    echo "the same seeds left different traces: $first and $second"
    exit 1
fi
