/* Scenarios of snapshots on a simulated cluster: a node that was away is sent one. All invariants
 * (sim/safety.h) are checked throughout; among them, that a state restored is the one that
 * replaying gives. Header only: each test program is one file. */
#ifndef MK_TESTS_SIM_SNAPSHOTS_H
#define MK_TESTS_SIM_SNAPSHOTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/cluster.h"
#include "wire/writer.h"

enum { MS = 1000, SECOND = 1000 * MS };

/* A snapshot every twenty entries, nothing kept before it, a dozen chunks each. */
static inline struct cluster_options options(uint64_t seed)
{
    struct cluster_options o = cluster_defaults(seed);
    o.snapshot = (struct node_snapshot_options){.entries = 20, .chunk_bytes = 500};
    o.clients.registers = 60;
    o.clients.gets = 0.2;
    o.clients.pause = (struct sim_span){.min_us = 1 * MS, .max_us = 10 * MS};
    return o;
}

static inline struct cluster *start(const struct cluster_options *o)
{
    struct cluster *c = cluster_new(o);
    cluster_boot_all(c);
    assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
    sim_clients_start(cluster_clients(c));
    assert_true(cluster_await_progress(c, 5 * SECOND));
    assert_true(cluster_run(c, 300 * MS)); /* and all connections are up */
    return c;
}

static inline void assert_sound(struct cluster *c)
{
    struct buffer text = {0};
    cluster_report(c, &text);
    if (text.size > 0) {
        fprintf(stderr, "%s", buffer_text(&text));
    }
    assert_int_equal(text.size, 0);
    buffer_close(&text);
}

static inline void end(struct cluster *c)
{
    assert_sound(c);
    cluster_heal(c);
    sim_net_reset(cluster_net(c));
    cluster_boot_all(c);
    bool progress = cluster_await_progress(c, 20 * SECOND);
    sim_clients_stop(cluster_clients(c));
    bool agreement = progress && cluster_await_agreement(c, 20 * SECOND);
    assert_sound(c);
    assert_true(progress);
    assert_true(agreement);
    cluster_free(c);
}

static inline raft_index applied(struct cluster *c, uint32_t host)
{
    return node_last_applied(sim_process_node(cluster_host(c, host)));
}

static inline uint64_t installs(struct cluster *c)
{
    return safety_stats(cluster_safety(c))->installs;
}

/* That this host was told of. */
static inline uint64_t events_of(struct cluster *c, uint32_t host, const char *name)
{
    const struct events *e = cluster_events(c);
    uint64_t count = 0;
    for (uint64_t i = events_begin(e); i < events_end(e); i++) {
        count += events_at(e, i)->host == host && strcmp(events_at(e, i)->name, name) == 0;
    }
    return count;
}

static inline uint64_t jobs(struct cluster *c, uint32_t host)
{
    return sim_process_executor(cluster_host(c, host))->started;
}

/* Somebody who follows; the other one is what is left. */
static inline uint32_t follower_of(uint32_t leader)
{
    return (leader + 1) % 3;
}

static inline uint32_t third(uint32_t a, uint32_t b)
{
    return 3 - a - b;
}

static inline void commit_more(struct cluster *c, raft_index entries)
{
    raft_index before = safety_committed(cluster_safety(c));
    while (safety_committed(cluster_safety(c)) < before + entries) {
        assert_true(cluster_run(c, 10 * MS));
    }
}

/* A follower is down while so much happens that it needs a snapshot, and starts again. It is about
 * to be sent one. */
static inline uint32_t come_back_late(struct cluster *c)
{
    uint32_t victim = follower_of(cluster_leader(c));
    sim_process_end(cluster_host(c, victim), SIM_END_KILLED);
    commit_more(c, 60);
    sim_process_restart(cluster_host(c, victim));
    while (sim_process_node(cluster_host(c, victim)) == NULL) {
        assert_true(cluster_run(c, MS));
    }
    return victim;
}

/* The same, but its process lives. */
static inline uint32_t reconnect_late(struct cluster *c)
{
    uint32_t victim = follower_of(cluster_leader(c));
    cluster_isolate(c, victim);
    assert_true(cluster_run(c, 4 * SECOND)); /* what was on its way is lost */
    commit_more(c, 60);
    sim_net_heal(cluster_net(c));
    return victim;
}

/* Lets the world go on until that is true. False: it never was. */
static inline bool until(struct cluster *c, bool (*is_so)(struct cluster *c, void *arg), void *arg,
                         uint64_t at_most_us)
{
    uint64_t until_us = world_now_us(cluster_world(c)) + at_most_us;
    while (!is_so(c, arg)) {
        if (!world_step(cluster_world(c), until_us)) {
            return false;
        }
    }
    return true;
}

static inline bool more_are_installed(struct cluster *c, void *before)
{
    return installs(c) > *(uint64_t *)before;
}

/* ---- commands of the test's own ------------------------------------------------------------- */

struct answer {
    bool came;
    enum err err;
};

static inline void take_answer(void *ctx, const struct node_reply *reply)
{
    struct answer *a = ctx;
    a->came = true;
    a->err = reply->err;
}

static inline bool has_come(struct cluster *c, void *arg)
{
    (void)c;
    return ((struct answer *)arg)->came;
}

/* Until it is answered. */
static inline enum err call(struct cluster *c, uint32_t host, const char *method,
                            struct buffer *params)
{
    struct answer a = {.err = ERR_OK};
    assert_true(sim_process_call(cluster_host(c, host), bytes_of_string(method),
                                 buffer_bytes(params), take_answer, &a));
    assert_true(until(c, has_come, &a, 20 * SECOND));
    buffer_close(params);
    return a.err;
}

/* Sets a key; id: of the command, 16 bytes, so that it is applied once however often it comes. */
static inline enum err set(struct cluster *c, uint32_t host, const char *key, struct bytes value,
                           const char *id)
{
    struct buffer b = {0};
    write_array(&b, 4);
    write_text(&b, "kv");
    write_text(&b, "set");
    write_map(&b, 2);
    write_text(&b, "key");
    write_text(&b, key);
    write_text(&b, "value");
    write_str(&b, value);
    write_map(&b, id != NULL ? 2 : 1);
    write_text(&b, "timeout_ms");
    write_u64(&b, 5000);
    if (id != NULL) {
        write_text(&b, "id");
        write_bin(&b, bytes_of(id, 16));
    }
    return call(c, host, "propose", &b);
}

/* Takes one now, of all that this host has applied. */
static inline void take_snapshot(struct cluster *c, uint32_t host)
{
    struct buffer b = {0};
    write_array(&b, 0);
    assert_int_equal(call(c, host, "snapshot", &b), ERR_OK);
}

#endif
