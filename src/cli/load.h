/* A load on a cluster: one thread, many connections, many requests in flight on each,
 * MessagePack-RPC as any client would send it. What `bench` and tests/bench/load.c measure with: it
 * shall not be the bottleneck. Every request is answered before the next takes its place (closed
 * loop). */
#ifndef MK_CLI_LOAD_H
#define MK_CLI_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct load_options {
    const char *endpoints; /* "host:port,...": connections are dealt out to them in turn */
    uint32_t connections;
    uint32_t depth; /* requests in flight on each */
    uint64_t duration_us;
    uint32_t value_bytes;
    uint32_t keys;    /* each request concerns one of so many */
    bool lease_reads; /* kv get with lease reads; otherwise kv set */
};

struct load_result {
    uint64_t done; /* without an error */
    uint64_t errors;
    char first_error[256];
    double seconds;
    double mean_us;
    uint32_t p50_us, p90_us, p99_us, max_us;
};

/* Blocks for the duration. Errors: INVALID, UNREACHABLE (no connection, or one was lost). */
enum err load_run(const struct load_options *options, struct load_result *out, struct why *why);

#endif
