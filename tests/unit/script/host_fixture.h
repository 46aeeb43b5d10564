/* A script host on a clock that stands still until it is moved, with a node that answers as the
 * test tells it to. What scripts report they put into a list with check(...) = mk.log.info. */
#ifndef MK_TESTS_HOST_FIXTURE_H
#define MK_TESTS_HOST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "script/host.h"
#include "script/script.h"
#include "wire/reader.h"
#include "wire/writer.h"

/* Is this a build for ThreadSanitizer? */
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

enum { REQUESTS_MAX = 256 };

struct fixture {
    struct clock_port clock;
    struct entropy_port entropy;
    struct log log;
    struct rng rng;
    uint64_t now_us;
    struct script_host *host;
    struct script_view view;
    struct buffer said; /* all log lines since the last said() */
    struct script_request *requests[REQUESTS_MAX];
    size_t requests_count;
    /* Called for each request instead of keeping it, when set. */
    void (*answer)(struct fixture *f, struct script_request *request);
    uint64_t wakes;
    void *ctx;
};

static inline uint64_t fixture_now_us(void *ctx)
{
    return ((struct fixture *)ctx)->now_us;
}
static inline int64_t fixture_wall_ms(void *ctx)
{
    return 1700000000000 + (int64_t)(((struct fixture *)ctx)->now_us / 1000);
}
static inline void fixture_fill(void *ctx, void *out, size_t size_bytes)
{
    struct fixture *f = ctx;
    uint8_t *bytes = out;
    for (size_t i = 0; i < size_bytes; i++) {
        bytes[i] = (uint8_t)rng_next(&f->rng);
    }
}
static inline void fixture_write(void *sink, const char *line, size_t size_bytes)
{
    struct fixture *f = sink;
    buffer_add(&f->said, line, size_bytes);
}
static inline void fixture_request(void *ctx, struct script_request *request)
{
    struct fixture *f = ctx;
    if (f->answer != NULL) {
        f->answer(f, request);
        script_request_free(request);
        return;
    }
    assert_true(f->requests_count < REQUESTS_MAX);
    f->requests[f->requests_count++] = request;
}
static inline void fixture_wake(void *ctx)
{
    ((struct fixture *)ctx)->wakes++;
}

static inline struct script_options fixture_options(struct fixture *f)
{
    return (struct script_options){
        .clock = &f->clock,
        .entropy = &f->entropy,
        .log = &f->log,
        .simulated = true,
        .node = {.id = "n1", .addr = "127.0.0.1:7118", .version = "0.0", .cluster = "test"},
        .request = fixture_request,
        .wake = fixture_wake,
        .ctx = f,
    };
}

static inline void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    f->now_us = 1000000;
    rng_seed(&f->rng, 42);
    f->clock = (struct clock_port){f, fixture_now_us, fixture_wall_ms};
    f->entropy = (struct entropy_port){f, fixture_fill};
    f->log = (struct log){.level = LOG_LEVEL_INFO,
                          .format = LOG_CONSOLE,
                          .wall_ms = fixture_wall_ms,
                          .clock = f,
                          .write = fixture_write,
                          .sink = f};
}

static inline void fixture_open(struct fixture *f)
{
    fixture_init(f);
    struct script_options options = fixture_options(f);
    f->host = script_host_new(&options);
}

static inline void fixture_close(struct fixture *f)
{
    script_host_free(f->host);
    for (size_t i = 0; i < f->requests_count; i++) {
        script_request_free(f->requests[i]);
    }
    buffer_close(&f->said);
}

static inline void load_named(struct fixture *f, const char *name, const char *source)
{
    struct script_app app = {.name = name, .path = "test.lua", .source = source};
    struct why why = {0};
    enum err err = script_host_load(f->host, &app, &why);
    if (err != ERR_OK) {
        fail_msg("%s: %s", err_name(err), why.text);
    }
}

/* Run what is due now. The clock moves by what the scripts use, and no further. */
static inline void settle(struct fixture *f)
{
    for (int i = 0; i < 100000; i++) {
        uint64_t next_us = script_host_run(f->host);
        if (f->host->busy_until_us > f->now_us) {
            f->now_us = f->host->busy_until_us;
        } else if (next_us > f->now_us) {
            return;
        }
    }
    fail_msg("the host does not come to rest");
}

/* Let this much time pass, waking the host at its deadlines. */
static inline void run_for(struct fixture *f, uint64_t ms)
{
    uint64_t end_us = f->now_us + ms * 1000;
    for (;;) {
        uint64_t next_us = script_host_run(f->host);
        if (next_us > end_us) {
            break;
        }
        if (next_us > f->now_us) {
            f->now_us = next_us;
        }
    }
    f->now_us = end_us;
    script_host_run(f->host);
}

static inline void load(struct fixture *f, const char *source)
{
    load_named(f, "app", source);
    settle(f);
}

/* Was this in what was logged? */
static inline bool said(struct fixture *f, const char *text)
{
    return strstr(buffer_text(&f->said), text) != NULL;
}
static inline void forget(struct fixture *f)
{
    buffer_clear(&f->said);
}
#define assert_said(f, text)                                                         \
    do {                                                                             \
        if (!said((f), (text))) {                                                    \
            fail_msg("'%s' was not said, but: %s", (text), buffer_text(&(f)->said)); \
        }                                                                            \
    } while (0)
#define assert_silent(f, text)                                              \
    do {                                                                    \
        if (said((f), (text))) {                                            \
            fail_msg("'%s' was said: %s", (text), buffer_text(&(f)->said)); \
        }                                                                   \
    } while (0)

/* ---- the node's side ---------------------------------------------------------------------------
 */

static inline void set_view(struct fixture *f)
{
    script_host_set_view(f->host, &f->view);
}

static inline void lead(struct fixture *f, uint64_t term, uint64_t token, uint64_t lease_ms)
{
    f->view.role = SCRIPT_LEADER;
    f->view.term = term;
    f->view.leader_ready = true;
    f->view.token = token;
    snprintf(f->view.leader_id, sizeof f->view.leader_id, "n1");
    f->view.lease_until_us = lease_ms == 0 ? 0 : f->now_us + lease_ms * 1000;
    set_view(f);
}

static inline void follow(struct fixture *f, uint64_t term, const char *leader)
{
    f->view.role = SCRIPT_FOLLOWER;
    f->view.term = term;
    f->view.leader_ready = false;
    f->view.token = 0;
    snprintf(f->view.leader_id, sizeof f->view.leader_id, "%s", leader);
    set_view(f);
}

/* An event with one integer field. */
static inline void post(struct fixture *f, const char *name, const char *key, uint64_t value)
{
    struct script_event *event = script_event_new(name);
    event->time_ms = fixture_wall_ms(f);
    event->term = f->view.term;
    struct buffer fields = {0};
    write_map(&fields, 1);
    write_text(&fields, key);
    write_u64(&fields, value);
    event->fields = slice_copy(buffer_bytes(&fields));
    buffer_close(&fields);
    script_host_post(f->host, event);
}

/* The oldest request, taken; the caller frees it. */
static inline struct script_request *next_request(struct fixture *f)
{
    if (f->requests_count == 0) {
        fail_msg("no request was sent; said: %s", buffer_text(&f->said));
    }
    struct script_request *request = f->requests[0];
    f->requests_count--;
    memmove(&f->requests[0], &f->requests[1], f->requests_count * sizeof f->requests[0]);
    return request;
}

static inline void reply_u64(struct fixture *f, uint64_t id, uint64_t value)
{
    struct buffer result = {0};
    write_u64(&result, value);
    script_host_reply(f->host, id, ERR_OK, NULL, slice_copy(buffer_bytes(&result)));
    buffer_close(&result);
}

#endif
