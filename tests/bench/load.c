/* A load generator that is not the bottleneck: one thread, many connections, many requests in
 * flight on each, MessagePack-RPC as any client would send it.
 *
 *     bench_load --endpoint 127.0.0.1:7117 --connections 16 --depth 64 --seconds 5 --value-bytes
 * 256
 *
 * Prints one JSON line: ops_per_s, errors, and latency percentiles in microseconds. Each request is
 * a kv set of a key drawn from --keys; every request is answered before the next takes its place
 * (closed loop). */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/rng.h"
#include "wire/rpc.h"
#include "wire/writer.h"

enum { RESPONSE_BYTES_MAX = 1 << 20, SAMPLES_MAX = 1 << 24 };

struct settings {
    const char *endpoint;
    uint32_t connections;
    uint32_t depth;
    double seconds;
    uint32_t value_bytes;
    uint32_t keys;
    bool lease_reads;
};

struct connection {
    int fd;
    struct buffer in;
    struct buffer out;
    struct rpc_scan scan;
    uint64_t *sent_ns; /* by msgid % depth */
    uint32_t next_msgid;
    uint32_t in_flight;
};

struct run {
    struct settings settings;
    struct rng rng;
    uint8_t *value;
    struct buffer params;
    uint32_t *samples_us;
    size_t samples_count;
    uint64_t errors;
    char first_error[256];
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "bench_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int connect_to(const char *endpoint)
{
    char host[256];
    snprintf(host, sizeof host, "%s", endpoint);
    char *colon = strrchr(host, ':');
    if (colon == NULL) {
        fprintf(stderr, "bench_load: --endpoint takes host:port\n");
        exit(2);
    }
    *colon = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        die(endpoint);
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        die(endpoint);
    }
    freeaddrinfo(found);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void build_set(struct run *run)
{
    char key[32];
    snprintf(key, sizeof key, "bench/%06u", (unsigned)rng_range(&run->rng, 0, run->settings.keys));
    buffer_clear(&run->params);
    if (run->settings.lease_reads) {
        write_array(&run->params, 4);
        write_text(&run->params, "kv");
        write_text(&run->params, "get");
        write_map(&run->params, 1);
        write_text(&run->params, "key");
        write_text(&run->params, key);
        write_map(&run->params, 1);
        write_text(&run->params, "read");
        write_text(&run->params, "lease");
        return;
    }
    write_array(&run->params, 3);
    write_text(&run->params, "kv");
    write_text(&run->params, "set");
    write_map(&run->params, 2);
    write_text(&run->params, "key");
    write_text(&run->params, key);
    write_text(&run->params, "value");
    write_bin(&run->params, bytes_of(run->value, run->settings.value_bytes));
}

static void fill(struct run *run, struct connection *c)
{
    const char *method = run->settings.lease_reads ? "query" : "propose";
    while (c->in_flight < run->settings.depth) {
        build_set(run);
        uint32_t msgid = c->next_msgid++;
        c->sent_ns[msgid % run->settings.depth] = now_ns();
        rpc_write_request(&c->out, msgid, bytes_of_string(method), buffer_bytes(&run->params));
        c->in_flight++;
    }
}

static void flush_out(struct connection *c)
{
    size_t done = 0;
    while (done < c->out.size) {
        ssize_t n = write(c->fd, c->out.data + done, c->out.size - done);
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            die("write");
        }
        done += (size_t)n;
    }
    buffer_consume(&c->out, done);
}

static void take_response(struct run *run, struct connection *c, struct bytes message)
{
    struct rpc_message m;
    if (rpc_decode(message, &m) != ERR_OK || m.type != RPC_RESPONSE) {
        fprintf(stderr, "bench_load: the server sent something that is no response\n");
        exit(1);
    }
    c->in_flight--;
    if (!rpc_is_nil(m.error)) {
        struct rpc_error error;
        if (run->errors++ == 0 && rpc_error_decode(m.error, &error) == ERR_OK) {
            snprintf(run->first_error, sizeof run->first_error, "%.*s", (int)error.message.size,
                     (const char *)error.message.data);
        }
        return;
    }
    if (run->samples_count < SAMPLES_MAX) {
        uint64_t ns = now_ns() - c->sent_ns[m.msgid % run->settings.depth];
        run->samples_us[run->samples_count++] = (uint32_t)(ns / 1000);
    }
}

static void receive(struct run *run, struct connection *c)
{
    for (;;) {
        uint8_t *place = buffer_reserve(&c->in, 65536);
        ssize_t n = read(c->fd, place, 65536);
        if (n == 0) {
            errno = ECONNRESET;
            die("the server closed the connection");
        }
        if (n < 0) {
            if (errno == EAGAIN) {
                return;
            }
            die("read");
        }
        c->in.size += (size_t)n;
        size_t at = 0;
        size_t size;
        while (rpc_scan(&c->scan, bytes_of(c->in.data + at, c->in.size - at), RESPONSE_BYTES_MAX,
                        READER_DEPTH_MAX, &size) == ERR_OK) {
            take_response(run, c, bytes_of(c->in.data + at, size));
            at += size;
        }
        buffer_consume(&c->in, at);
        if (n < 65536) {
            return;
        }
    }
}

static int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t percentile(const struct run *run, double p)
{
    if (run->samples_count == 0) {
        return 0;
    }
    size_t at = (size_t)((double)(run->samples_count - 1) * p);
    return run->samples_us[at];
}

static double mean(const struct run *run)
{
    double sum = 0;
    for (size_t i = 0; i < run->samples_count; i++) {
        sum += run->samples_us[i];
    }
    return run->samples_count > 0 ? sum / (double)run->samples_count : 0;
}

static void report(struct run *run, double seconds)
{
    qsort(run->samples_us, run->samples_count, sizeof *run->samples_us, compare_samples);
    printf("{\"ops_per_s\":%.0f,\"ops\":%zu,\"errors\":%llu,\"first_error\":\"%s\","
           "\"mean_us\":%.0f,\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n",
           (double)run->samples_count / seconds, run->samples_count,
           (unsigned long long)run->errors, run->first_error, mean(run), percentile(run, 0.50),
           percentile(run, 0.90), percentile(run, 0.99), percentile(run, 1.0));
}

static double run_for(struct run *run, struct connection *connections)
{
    int poller = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < run->settings.connections; i++) {
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                                .data.ptr = &connections[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, connections[i].fd, &e);
    }
    uint64_t began = now_ns();
    uint64_t end = began + (uint64_t)(run->settings.seconds * 1e9);
    for (uint32_t i = 0; i < run->settings.connections; i++) {
        fill(run, &connections[i]);
        flush_out(&connections[i]);
    }
    while (now_ns() < end) {
        struct epoll_event events[64];
        int count = epoll_wait(poller, events, 64, 100);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            receive(run, c);
            fill(run, c);
            flush_out(c);
        }
    }
    close(poller);
    return (double)(now_ns() - began) / 1e9;
}

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
    struct run run = {
        .settings =
            {
                .endpoint = value_of(argc, argv, "--endpoint", "127.0.0.1:7117"),
                .connections = number_of(argc, argv, "--connections", "16"),
                .depth = number_of(argc, argv, "--depth", "64"),
                .seconds = strtod(value_of(argc, argv, "--seconds", "5"), NULL),
                .value_bytes = number_of(argc, argv, "--value-bytes", "256"),
                .keys = number_of(argc, argv, "--keys", "10000"),
                .lease_reads = strcmp(value_of(argc, argv, "--read", "no"), "lease") == 0,
            },
    };
    rng_seed(&run.rng, 1);
    run.value = alloc_zeroed(run.settings.value_bytes + 1, 1);
    memset(run.value, 'v', run.settings.value_bytes);
    run.samples_us = alloc_zeroed(SAMPLES_MAX, sizeof *run.samples_us);
    struct connection *connections = alloc_zeroed(run.settings.connections, sizeof *connections);
    for (uint32_t i = 0; i < run.settings.connections; i++) {
        connections[i].fd = connect_to(run.settings.endpoint);
        connections[i].sent_ns = alloc_zeroed(run.settings.depth, sizeof(uint64_t));
    }
    double seconds = run_for(&run, connections);
    report(&run, seconds);
    for (uint32_t i = 0; i < run.settings.connections; i++) {
        close(connections[i].fd);
        buffer_close(&connections[i].in);
        buffer_close(&connections[i].out);
        free(connections[i].sent_ns);
    }
    free(connections);
    free(run.samples_us);
    free(run.value);
    buffer_close(&run.params);
    return run.samples_count > 0 ? 0 : 1;
}
