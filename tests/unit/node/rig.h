/* Nodes on the simulated world, asked one method at a time, in JSON. All invariants of sim/safety.h
 * are checked throughout. */
#ifndef MK_TESTS_NODE_RIG_H
#define MK_TESTS_NODE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../sim/sound.h"
#include "script/json.h"
#include "sim/cluster.h"

enum { MS = 1000, SECOND = 1000 * MS };

/* What a call came to. */
struct answer {
    int count; /* of answers */
    enum err err;
    char message[512];
    char result[1024]; /* JSON */
};

static inline void rig_on_answer(void *ctx, const struct node_reply *reply)
{
    struct answer *a = ctx;
    a->count++;
    a->err = reply->err;
    snprintf(a->message, sizeof a->message, "%s", reply->message != NULL ? reply->message : "");
    struct buffer text = {0};
    if (reply->result.size > 0) {
        assert_int_equal(json_from_msgpack(reply->result, NULL, &text, NULL), ERR_OK);
    }
    snprintf(a->result, sizeof a->result, "%s", buffer_text(&text));
    buffer_close(&text);
}

static inline struct cluster *rig_start_with(const struct cluster_options *o)
{
    struct cluster *c = cluster_new(o);
    cluster_boot_all(c);
    assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
    assert_true(cluster_run(c, SECOND)); /* all connections are up, the machine is installed */
    return c;
}

static inline struct cluster *rig_start(uint32_t nodes)
{
    struct cluster_options o = cluster_defaults(7);
    o.nodes = nodes;
    return rig_start_with(&o);
}

static inline void rig_end(struct cluster *c)
{
    assert_sound(c);
    cluster_free(c);
}

/* a must stay until the cluster is freed. */
static inline void rig_ask(struct cluster *c, uint32_t host, const char *method, const char *params,
                           struct answer *a)
{
    *a = (struct answer){0};
    struct buffer encoded = {0};
    assert_int_equal(json_to_msgpack(bytes_of_string(params), &encoded, NULL), ERR_OK);
    assert_true(sim_process_call(cluster_host(c, host), bytes_of_string(method),
                                 buffer_bytes(&encoded), rig_on_answer, a));
    assert_int_equal(a->count, 0); /* never from inside the call */
    buffer_close(&encoded);
}

static inline void rig_await(struct cluster *c, const struct answer *a, uint64_t at_most_us)
{
    uint64_t end_us = world_now_us(cluster_world(c)) + at_most_us;
    while (a->count == 0 && world_step(cluster_world(c), end_us)) {
    }
    assert_int_equal(a->count, 1);
}

static inline struct answer rig_call(struct cluster *c, uint32_t host, const char *method,
                                     const char *params)
{
    struct answer a;
    rig_ask(c, host, method, params, &a);
    rig_await(c, &a, 20 * SECOND);
    return a;
}

#define assert_answer(a, result_json)                 \
    do {                                              \
        const struct answer got = (a);                \
        assert_string_equal(got.message, "");         \
        assert_int_equal(got.err, ERR_OK);            \
        assert_string_equal(got.result, result_json); \
    } while (0)

#define assert_refused(a, code)                                 \
    do {                                                        \
        const struct answer got = (a);                          \
        assert_string_equal(err_name(got.err), err_name(code)); \
    } while (0)

#endif
