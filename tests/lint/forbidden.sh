#!/bin/sh
# What may not be in the code.
set -eu
cd "$(dirname "$0")/../.."
status=0

# complain REASON FOUND: shows what was found, if anything was.
complain() {
    if [ -n "$2" ]; then
        echo "$1:"
        echo "$2" | sed 's/^/    /'
        status=1
    fi
}

# Calls of C functions, in files outside the folders that may make them. Comments do not count.
calls() {
    pattern=$1
    shift
    find src -name '*.[ch]' | grep -vE "^src/($*)/" | sort | xargs grep -nE "(^|[^a-z_>.])($pattern) ?\(" |
        grep -vE '^[^:]*:[0-9]*: *(/?\*|//)' || true
}

complain "time comes through port/clock.h" "$(
    calls 'clock_gettime|gettimeofday|time|clock|nanosleep|usleep|sleep' 'net|guardian|cli'
)"
complain "randomness comes through port/entropy.h, or a seeded base/rng.h" "$(
    calls 'rand|random|srand|srandom|getrandom|getentropy|arc4random' 'net|guardian|cli'
)"
complain "only the command line reads the environment" "$(
    calls 'getenv|secure_getenv|setenv|putenv' 'net|guardian|cli'
)"
complain "threads and processes are made in net/, scenario/, guardian/ and cli/" "$(
    calls 'pthread_create|thrd_create|fork|vfork' 'net|scenario|guardian|cli'
)"
complain "bounded functions only" "$(
    calls 'strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi' 'none'
)"
complain "ASSERT of base/assert.h is always on; assert is not" "$(calls 'assert' 'none')"

# The patterns are written so that this file does not match itself.
complain "paths of one machine" "$(
    git grep -nIE '(^|[^a-zA-Z0-9_.~-])/(wor[k]|far[m]|hom[e]|roo[t]|Use[r]s)/' -- . || true
)"
complain "unfinished business belongs in an issue" "$(
    git grep -nIwE 'TOD[O]|FIXM[E]|XX[X]|HAC[K]' -- src lua scripts tests || true
)"
exit $status
