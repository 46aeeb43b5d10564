/* HTTP: servers that scripts ask, and what they received; requests to nodes. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "scenario/verbs.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { BODY_BYTES_MAX = 1 << 20, FIELDS_MAX = 64, US_PER_MS = 1000, LATENCY_MS = 1 };

struct server_options {
    struct http_server_rule rule;
    struct buffer fields;
};

static void take_statuses(struct reader *r, struct http_server_rule *rule)
{
    uint32_t count = reader_peek(r) == WIRE_ARRAY ? read_array(r) : 1;
    if (count < 1 || count > HTTP_SERVER_STATUSES_MAX) {
        reader_fail(r, ERR_INVALID);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        rule->statuses[i] = (int)read_u32_max(r, 599);
    }
    rule->statuses_count = count;
}

static void take_latency(struct reader *r, struct sim_span *latency)
{
    bool range = reader_peek(r) == WIRE_ARRAY;
    if (range) {
        read_array_of(r, 2);
    }
    latency->min_us = read_ms_as_us(r);
    latency->max_us = (range ? read_ms_as_us(r) : latency->min_us) + 1;
    if (latency->max_us <= latency->min_us) {
        reader_fail(r, ERR_INVALID);
    }
}

/* A map of names and values, as the list that goes over the wire. */
static void take_fields(struct reader *r, struct buffer *out)
{
    uint32_t count = reader_peek(r) == WIRE_ARRAY ? read_array(r) : read_map(r);
    write_array(out, 2 * count);
    for (uint32_t i = 0; i < 2 * count && count <= FIELDS_MAX; i++) {
        write_str(out, read_str_or_bin(r, ASK_NAME_MAX * 16));
    }
}

static void take_nodes(struct reader *r, uint32_t *hosts)
{
    uint32_t count = read_array(r);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t node = read_u32_max(r, TARGET_NODES_MAX);
        *hosts |= node > 0 ? UINT32_C(1) << (node - 1) : 0;
    }
}

static bool take_server(struct reader *r, struct bytes key, void *ctx)
{
    struct server_options *o = ctx;
    if (bytes_is(key, "status")) {
        take_statuses(r, &o->rule);
    } else if (bytes_is(key, "body")) {
        o->rule.body = read_str_or_bin(r, BODY_BYTES_MAX);
    } else if (bytes_is(key, "headers")) {
        take_fields(r, &o->fields);
    } else if (bytes_is(key, "latency_ms")) {
        take_latency(r, &o->rule.latency);
    } else if (bytes_is(key, "fails")) {
        o->rule.fails = read_f64(r);
    } else if (bytes_is(key, "down")) {
        o->rule.down = read_bool(r);
    } else if (bytes_is(key, "refuses")) {
        take_nodes(r, &o->rule.refuses);
    } else {
        return false;
    }
    return true;
}

/* cluster_http_server [cluster, url, {status, body, headers, latency_ms, fails, down, refuses}] */
void verb_http_server(struct ask *a)
{
    struct target *t = a->cluster->target;
    struct server_options o = {
        .rule.latency = {.min_us = LATENCY_MS * US_PER_MS, .max_us = LATENCY_MS * US_PER_MS + 1}};
    char text[URL_TEXT_MAX];
    struct url url;
    struct why why = {""};
    ask_next_text(a, text, sizeof text);
    if (ask_next_fields(a, take_server, &o,
                        "status, body, headers, latency_ms, fails, down, refuses")) {
        if (url_parse(text, &url, &why) != ERR_OK) {
            ask_fail(a, ERR_INVALID, "http_server(url, { ... }): %s", why.text);
        } else {
            o.rule.url = url_text(&url, text);
            o.rule.fields = buffer_bytes(&o.fields);
            http_servers_define(t->vtable->http_servers(t), &o.rule);
            ask_answer_nothing(a);
        }
    }
    buffer_close(&o.fields);
}

static void write_received(struct buffer *out, const struct http_received *r)
{
    write_map(out, r->status != 0 ? 8 : 7);
    write_text(out, "at_ms");
    write_f64(out, (double)r->at_us / US_PER_MS);
    write_text(out, "node");
    write_u64(out, r->host + 1);
    write_text(out, "method");
    write_text(out, r->method);
    write_text(out, "url");
    write_text(out, r->url);
    write_text(out, "headers");
    write_raw(out, slice_bytes(r->fields));
    write_text(out, "body");
    write_bin(out, bytes_of(r->body, r->body_size));
    write_text(out, "answered");
    write_bool(out, r->answered);
    if (r->status != 0) {
        write_text(out, "status");
        write_u64(out, (uint64_t)r->status);
    }
}

/* cluster_http_requests [cluster] -> array */
void verb_http_requests(struct ask *a)
{
    struct target *t = a->cluster->target;
    const struct http_servers *all = t->vtable->http_servers(t);
    struct buffer out = {0};
    uint64_t count = http_servers_count(all);
    write_array(&out, (uint32_t)count);
    for (uint64_t i = 0; i < count; i++) {
        write_received(&out, http_servers_received(all, i));
    }
    ask_answer_buffer(a, &out);
}

/* ---- requests to nodes --------------------------------------------------------------------------
 */

enum { METHODS = 7, NODE_BODY_BYTES_MAX = 16 << 20, VALUE_BYTES_MAX = 8192 };

/* The method that is meant; NULL: there is no such one. */
static const char *method_of(const char *name)
{
    static const char *const names[METHODS] = {"GET",    "HEAD",    "POST", "PUT",
                                               "DELETE", "OPTIONS", "PATCH"};
    for (size_t i = 0; i < METHODS; i++) {
        if (strcmp(names[i], name) == 0) {
            return names[i];
        }
    }
    return NULL;
}

static char *next_string(struct reader *r)
{
    struct bytes text = read_str_or_bin(r, VALUE_BYTES_MAX);
    struct buffer copy = {0};
    buffer_add_bytes(&copy, text);
    char *string = alloc_string(buffer_text(&copy));
    buffer_close(&copy);
    return string;
}

static void free_fields(struct http_field *fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)fields[i].name);
        free((void *)(uintptr_t)fields[i].value);
    }
    free(fields);
}

/* node_http [cluster, node, method, target, body, [name, value, ...], timeout_ms]
 *   -> [status, [name, value, ...], body] */
void verb_http(struct ask *a)
{
    struct target *t = a->cluster->target;
    char method[ASK_NAME_MAX];
    ask_next_text(a, method, sizeof method);
    char *target = next_string(&a->params);
    struct target_http request = {.method = method_of(method), .target = target};
    request.body = read_str_or_bin(&a->params, NODE_BODY_BYTES_MAX);
    uint32_t count = read_array(&a->params) / 2;
    struct http_field *fields = alloc_zeroed(count + 1, sizeof *fields);
    for (uint32_t i = 0; i < count; i++) {
        fields[i].name = next_string(&a->params);
        fields[i].value = next_string(&a->params);
    }
    request.fields = fields;
    request.fields_count = count;
    request.timeout_us = read_ms_as_us(&a->params);
    if (request.method == NULL || a->params.err != ERR_OK || target[0] != '/') {
        ask_fail(a, ERR_INVALID, "node:http(method, \"/path\", body, { headers, timeout_ms })");
    } else {
        a->cluster->has_others = true;
        t->vtable->http(t, a->node, &request, ask_pass_on, a);
    }
    free_fields(fields, count);
    free(target);
}
