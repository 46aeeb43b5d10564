#include "sim/http_servers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "wire/http_answer.h"

enum { FIRST_CAPACITY = 16, STATUS_OK = 200, STATUS_UNAVAILABLE = 503 };

struct server {
    struct http_server_rule rule; /* its url, body and fields are its own */
    struct slice body, fields;
    uint32_t answered; /* statuses used so far */
    LIST_ENTRY(server) link;
};

struct http_servers {
    LIST_HEAD(, server) servers;
    struct http_received *received;
    uint64_t count, capacity;
};

struct http_servers *http_servers_new(void)
{
    struct http_servers *all = NEW(struct http_servers);
    LIST_INIT(&all->servers);
    return all;
}

static void server_free(struct server *s)
{
    free((void *)(uintptr_t)s->rule.url);
    slice_close(&s->body);
    slice_close(&s->fields);
    free(s);
}

void http_servers_free(struct http_servers *all)
{
    if (all == NULL) {
        return;
    }
    for (struct server *s = LIST_FIRST(&all->servers), *next; s != NULL; s = next) {
        next = LIST_NEXT(s, link);
        server_free(s);
    }
    for (uint64_t i = 0; i < all->count; i++) {
        free(all->received[i].method);
        free(all->received[i].url);
        free(all->received[i].body);
        slice_close(&all->received[i].fields);
    }
    free(all->received);
    free(all);
}

void http_servers_define(struct http_servers *all, const struct http_server_rule *rule)
{
    struct server *old = LIST_FIRST(&all->servers);
    while (old != NULL && strcmp(old->rule.url, rule->url) != 0) {
        old = LIST_NEXT(old, link);
    }
    struct server *s = NEW(struct server);
    s->rule = *rule;
    s->rule.url = alloc_string(rule->url);
    s->body = slice_copy(rule->body);
    s->fields = slice_copy(rule->fields);
    s->rule.body = slice_bytes(s->body);
    s->rule.fields = slice_bytes(s->fields);
    if (s->rule.statuses_count == 0) {
        s->rule.statuses[s->rule.statuses_count++] = STATUS_OK;
    }
    LIST_INSERT_HEAD(&all->servers, s, link);
    if (old != NULL) {
        LIST_REMOVE(old, link);
        server_free(old);
    }
}

static struct server *find(const struct http_servers *all, const char *url)
{
    struct server *best = NULL, *s;
    size_t best_size = 0;
    LIST_FOREACH (s, &all->servers, link) {
        size_t size = strlen(s->rule.url);
        if (size > best_size && strncmp(s->rule.url, url, size) == 0) {
            best = s;
            best_size = size;
        }
    }
    return best;
}

const struct http_server_rule *http_servers_find(const struct http_servers *all, const char *url)
{
    const struct server *s = find(all, url);
    return s != NULL ? &s->rule : NULL;
}

enum http_fate http_servers_draw(const struct http_server_rule *rule, uint32_t host,
                                 struct rng *rng)
{
    if (rule->down || (rule->refuses & UINT32_C(1) << host) != 0) {
        return HTTP_REFUSED;
    }
    return rng_chance(rng, rule->fails)
               ? (enum http_fate)rng_range(rng, HTTP_ANSWERED + 1, HTTP_FATES)
               : HTTP_ANSWERED;
}

static int next_status(struct server *s)
{
    uint32_t i = s->answered < s->rule.statuses_count ? s->answered++ : s->rule.statuses_count - 1;
    return s->rule.statuses[i];
}

static char *copy_body(struct bytes body)
{
    char *copy = alloc_bytes(body.size + 1);
    if (body.size > 0) {
        memcpy(copy, body.data, body.size);
    }
    copy[body.size] = 0;
    return copy;
}

uint64_t http_servers_receive(struct http_servers *all, const struct http_incoming *request,
                              enum http_fate fate, uint64_t now_us)
{
    struct server *s = find(all, request->url);
    int status = 0; /* its server may have been replaced meanwhile, but not taken away */
    ASSERT(s != NULL);
    if (fate == HTTP_ANSWERED || fate == HTTP_ANSWER_LOST) {
        status = next_status(s);
    } else if (fate == HTTP_ERROR) {
        status = STATUS_UNAVAILABLE;
    }
    if (all->count == all->capacity) {
        all->capacity = all->capacity == 0 ? FIRST_CAPACITY : all->capacity * 2;
        all->received = alloc_resize(all->received, all->capacity, sizeof *all->received);
    }
    all->received[all->count] = (struct http_received){
        .host = request->host,
        .method = alloc_string(request->method),
        .url = alloc_string(request->url),
        .body = copy_body(request->body),
        .body_size = request->body.size,
        .fields = slice_copy(request->fields),
        .at_us = now_us,
        .status = status,
    };
    return all->count++;
}

void http_servers_answered(struct http_servers *all, uint64_t number)
{
    ASSERT(number < all->count);
    all->received[number].answered = true;
}

void http_servers_answer(const struct http_servers *all, uint64_t number, struct buffer *out)
{
    const struct http_received *r = http_servers_received(all, number);
    const struct server *s = find(all, r->url);
    ASSERT(s != NULL);
    write_http_answer(out, &(struct http_answer){
                               .status = r->status,
                               .fields = s->rule.fields,
                               .body = s->rule.body,
                           });
}

uint64_t http_servers_count(const struct http_servers *all)
{
    return all->count;
}

const struct http_received *http_servers_received(const struct http_servers *all, uint64_t number)
{
    ASSERT(number < all->count);
    return &all->received[number];
}
