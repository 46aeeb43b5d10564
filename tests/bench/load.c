/* The load generator of `moonkeeper bench`, for scripts:
 *
 *     bench_load --endpoint 127.0.0.1:7117 --connections 16 --depth 64 --seconds 5 --value-bytes
 * 256
 *
 * Prints one JSON line: ops_per_s, errors, and latency percentiles in microseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/load.h"

static const char *value_of(int argc, char **argv, const char *flag, const char *fallback)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], flag) == 0) {
            return argv[i + 1];
        }
    }
    return fallback;
}

static uint32_t number_of(int argc, char **argv, const char *flag, const char *fallback)
{
    return (uint32_t)strtoul(value_of(argc, argv, flag, fallback), NULL, 10);
}

int main(int argc, char **argv)
{
    const struct load_options options = {
        .endpoints = value_of(argc, argv, "--endpoint", "127.0.0.1:7117"),
        .connections = number_of(argc, argv, "--connections", "16"),
        .depth = number_of(argc, argv, "--depth", "64"),
        .duration_us = (uint64_t)(strtod(value_of(argc, argv, "--seconds", "5"), NULL) * 1e6),
        .value_bytes = number_of(argc, argv, "--value-bytes", "256"),
        .keys = number_of(argc, argv, "--keys", "10000"),
        .lease_reads = strcmp(value_of(argc, argv, "--read", "no"), "lease") == 0,
    };
    struct load_result r;
    struct why why = {""};
    if (load_run(&options, &r, &why) != ERR_OK) {
        fprintf(stderr, "bench_load: %s\n", why.text);
        return 1;
    }
    printf("{\"ops_per_s\":%.0f,\"ops\":%llu,\"errors\":%llu,\"first_error\":\"%s\","
           "\"mean_us\":%.0f,\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n",
           (double)r.done / r.seconds, (unsigned long long)r.done, (unsigned long long)r.errors,
           r.first_error, r.mean_us, r.p50_us, r.p90_us, r.p99_us, r.max_us);
    return r.done > 0 ? 0 : 1;
}
