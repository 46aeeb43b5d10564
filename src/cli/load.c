#include "cli/load.h"

#include <errno.h>
#include <fcntl.h>
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
#include "cli/addresses.h"
#include "cli/interrupt.h"
#include "net/socket.h"
#include "wire/rpc.h"
#include "wire/writer.h"

enum {
    RESPONSE_BYTES_MAX = 1 << 20,
    SAMPLES_MAX = 1 << 24,
    READ_BYTES = 65536,
    DEFAULT_PORT = DEFAULT_CLIENT_PORT,
};

struct connection {
    int fd;
    char address[ADDRESS_TEXT_MAX];
    struct buffer in;
    struct buffer out;
    struct rpc_scan scan;
    uint64_t *sent_ns; /* by msgid % depth */
    uint32_t next_msgid;
    uint32_t in_flight;
};

struct run {
    const struct load_options *options;
    struct rng rng;
    uint8_t *value;
    struct buffer params;
    uint32_t *samples_us;
    size_t samples_count;
    struct load_result *result;
    struct why *why;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void build_set(struct run *run)
{
    char key[32];
    snprintf(key, sizeof key, "bench/%06u", (unsigned)rng_range(&run->rng, 0, run->options->keys));
    buffer_clear(&run->params);
    if (run->options->lease_reads) {
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
    write_bin(&run->params, bytes_of(run->value, run->options->value_bytes));
}

static void fill(struct run *run, struct connection *c)
{
    const char *method = run->options->lease_reads ? "query" : "propose";
    while (c->in_flight < run->options->depth) {
        build_set(run);
        uint32_t msgid = c->next_msgid++;
        c->sent_ns[msgid % run->options->depth] = now_ns();
        rpc_write_request(&c->out, msgid, bytes_of_string(method), buffer_bytes(&run->params));
        c->in_flight++;
    }
}

static enum err lost(const struct run *run, const struct connection *c, const char *reason)
{
    return err_why(run->why, ERR_UNREACHABLE, "lost connection to %s: %s", c->address, reason);
}

static enum err flush_out(struct run *run, struct connection *c)
{
    size_t done = 0;
    enum err e = ERR_OK;
    while (done < c->out.size && e == ERR_OK) {
        ssize_t n = send(c->fd, c->out.data + done, c->out.size - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            e = lost(run, c, strerror(errno));
        } else {
            done += (size_t)n;
        }
    }
    buffer_consume(&c->out, done);
    return e;
}

static enum err take_response(struct run *run, struct connection *c, struct bytes message)
{
    struct rpc_message m;
    if (rpc_decode(message, &m) != ERR_OK || m.type != RPC_RESPONSE) {
        return err_why(run->why, ERR_INVALID, "%s sent something that is no response", c->address);
    }
    c->in_flight--;
    if (!rpc_is_nil(m.error)) {
        struct rpc_error error;
        if (run->result->errors++ == 0 && rpc_error_decode(m.error, &error) == ERR_OK) {
            snprintf(run->result->first_error, sizeof run->result->first_error, "%.*s",
                     (int)error.message.size, (const char *)error.message.data);
        }
        return ERR_OK;
    }
    if (run->samples_count < SAMPLES_MAX) {
        uint64_t ns = now_ns() - c->sent_ns[m.msgid % run->options->depth];
        run->samples_us[run->samples_count++] = (uint32_t)(ns / 1000);
    }
    return ERR_OK;
}

static enum err take_responses(struct run *run, struct connection *c)
{
    size_t at = 0, size;
    enum err e = ERR_OK;
    while (e == ERR_OK && rpc_scan(&c->scan, bytes_of(c->in.data + at, c->in.size - at),
                                   RESPONSE_BYTES_MAX, READER_DEPTH_MAX, &size) == ERR_OK) {
        e = take_response(run, c, bytes_of(c->in.data + at, size));
        at += size;
    }
    buffer_consume(&c->in, at);
    return e;
}

static enum err receive(struct run *run, struct connection *c)
{
    for (;;) {
        uint8_t *place = buffer_reserve(&c->in, READ_BYTES);
        ssize_t n = recv(c->fd, place, READ_BYTES, 0);
        if (n < 0 && errno == EAGAIN) {
            return ERR_OK;
        }
        if (n <= 0) {
            return lost(run, c, n == 0 ? "closed" : strerror(errno));
        }
        c->in.size += (size_t)n;
        enum err e = take_responses(run, c);
        if (e != ERR_OK || n < READ_BYTES) {
            return e;
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

static void summarise(struct run *run)
{
    struct load_result *r = run->result;
    qsort(run->samples_us, run->samples_count, sizeof *run->samples_us, compare_samples);
    r->done = run->samples_count;
    r->mean_us = mean(run);
    r->p50_us = percentile(run, 0.50);
    r->p90_us = percentile(run, 0.90);
    r->p99_us = percentile(run, 0.99);
    r->max_us = percentile(run, 1.0);
}

static enum err drive(struct run *run, struct connection *connections)
{
    int poller = epoll_create1(EPOLL_CLOEXEC);
    enum err e = ERR_OK;
    uint64_t began = now_ns(), end = began + run->options->duration_us * 1000;
    for (uint32_t i = 0; i < run->options->connections && e == ERR_OK; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                                    .data.ptr = &connections[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, connections[i].fd, &event);
        fill(run, &connections[i]);
        e = flush_out(run, &connections[i]);
    }
    while (e == ERR_OK && now_ns() < end && interrupt_count() == 0) {
        struct epoll_event events[64];
        int count = epoll_wait(poller, events, 64, 20);
        for (int i = 0; i < count && e == ERR_OK; i++) {
            struct connection *c = events[i].data.ptr;
            e = receive(run, c);
            fill(run, c);
            e = e != ERR_OK ? e : flush_out(run, c);
        }
    }
    close(poller);
    run->result->seconds = (double)(now_ns() - began) / 1e9;
    return e;
}

/* The next of "a:1,b:2"; after the last, the first again. */
static void next_endpoint(const char *all, const char **at, char out[ADDRESS_TEXT_MAX])
{
    size_t size = strcspn(*at, ",");
    snprintf(out, ADDRESS_TEXT_MAX, "%.*s", (int)size, *at);
    *at += size + ((*at)[size] == ',');
    *at = **at != 0 ? *at : all;
}

static enum err open_connection(const struct run *run, const char **endpoint, struct connection *c)
{
    struct address address;
    struct socket_address to;
    next_endpoint(run->options->endpoints, endpoint, c->address);
    enum err e = address_parse(c->address, DEFAULT_PORT, &address, run->why);
    e = e != ERR_OK ? e : address_resolve(&address, &to, run->why);
    if (e != ERR_OK) {
        return e;
    }
    c->fd = socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&to.storage, to.size) != 0) {
        return err_why(run->why, ERR_UNREACHABLE, "cannot reach %s: %s", c->address,
                       strerror(errno));
    }
    socket_set_no_delay(c->fd);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    return ERR_OK;
}

enum err load_run(const struct load_options *options, struct load_result *out, struct why *why)
{
    *out = (struct load_result){.done = 0};
    struct run run = {.options = options, .result = out, .why = why};
    struct connection *connections = alloc_zeroed(options->connections, sizeof *connections);
    const char *endpoint = options->endpoints;
    enum err e = ERR_OK;
    rng_seed(&run.rng, 1);
    run.value = alloc_zeroed(options->value_bytes + 1, 1);
    memset(run.value, 'v', options->value_bytes);
    run.samples_us = alloc_zeroed(SAMPLES_MAX, sizeof *run.samples_us);
    for (uint32_t i = 0; i < options->connections; i++) {
        connections[i].fd = -1;
        connections[i].sent_ns = alloc_zeroed(options->depth, sizeof(uint64_t));
    }
    for (uint32_t i = 0; i < options->connections && e == ERR_OK; i++) {
        e = open_connection(&run, &endpoint, &connections[i]);
    }
    e = e != ERR_OK ? e : drive(&run, connections);
    summarise(&run);
    for (uint32_t i = 0; i < options->connections; i++) {
        if (connections[i].fd >= 0) {
            close(connections[i].fd);
        }
        buffer_close(&connections[i].in);
        buffer_close(&connections[i].out);
        free(connections[i].sent_ns);
    }
    free(connections);
    free(run.samples_us);
    free(run.value);
    buffer_close(&run.params);
    return e;
}
