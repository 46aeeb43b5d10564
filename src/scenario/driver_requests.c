/* Requests of a test: which verb, on which cluster, node or link. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "scenario/verbs.h"
#include "wire/reader.h"

static const struct {
    const char *method;
    void (*ask)(struct ask *a);
    enum { FREE, CLUSTER, NODE, LINK } of; /* the cluster, node or link its first parameters name */
} table[] = {
    {"scenario_loaded", verb_loaded, FREE},
    {"scenario_unloadable", verb_ended, FREE},
    {"scenario_ended", verb_ended, FREE},
    {"message_types", verb_message_types, FREE},
    {"cluster_open", verb_open, FREE},
    {"cluster_close", verb_close, CLUSTER},
    {"cluster_start", verb_start, CLUSTER},
    {"cluster_stop", verb_stop, NODE},
    {"cluster_crash", verb_crash, NODE},
    {"cluster_pause", verb_pause, NODE},
    {"cluster_wipe", verb_wipe, NODE},
    {"cluster_reload", verb_reload, NODE},
    {"cluster_cut", verb_cut, LINK},
    {"cluster_heal", verb_heal, CLUSTER},
    {"cluster_delay", verb_delay, LINK},
    {"cluster_drop", verb_drop, LINK},
    {"cluster_rpcs", verb_rpcs, CLUSTER},
    {"cluster_skew", verb_skew, NODE},
    {"cluster_set_wall", verb_set_wall, NODE},
    {"cluster_disk", verb_disk, NODE},
    {"cluster_program", verb_program, CLUSTER},
    {"cluster_programs", verb_programs, CLUSTER},
    {"cluster_http_server", verb_http_server, CLUSTER},
    {"cluster_http_requests", verb_http_requests, CLUSTER},
    {"cluster_leader", verb_leader, CLUSTER},
    {"cluster_events", verb_events, CLUSTER},
    {"cluster_check", verb_check, CLUSTER},
    {"cluster_trace", verb_trace, CLUSTER},
    {"node_alive", verb_alive, NODE},
    {"node_http", verb_http, NODE},
    {"node_control", verb_control, NODE},
    {"node_call", verb_call, NODE},
};

/* False, and it is answered, if there is no such cluster. */
static bool find_cluster(struct ask *a)
{
    struct driver *d = a->driver;
    uint64_t number = read_u64(&a->params);
    if (a->params.err != ERR_OK || number < 1 || number > d->clusters_count) {
        ask_fail(a, ERR_INVALID, "there is no such cluster");
        return false;
    }
    a->cluster = d->clusters[number - 1];
    if (a->cluster->target == NULL || a->cluster->ended) {
        ask_fail(a, ERR_INVALID, "the cluster is closed");
        return false;
    }
    return true;
}

static bool find_subject(struct ask *a, int of)
{
    if (of >= CLUSTER && !find_cluster(a)) {
        return false;
    }
    if (of >= NODE) {
        a->node = ask_next_node(a);
    }
    if (of >= LINK) {
        a->to = ask_next_node(a);
    }
    if (a->params.err != ERR_OK) {
        ask_fail(a, ERR_INVALID, "there is no such node");
        return false;
    }
    return true;
}

static void carry_out(struct ask *a, const char *method)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(method, table[i].method) == 0) {
            if (find_subject(a, (int)table[i].of)) {
                table[i].ask(a);
            }
            return;
        }
    }
    ask_fail(a, ERR_NOT_FOUND,
             "a test has no node of its own: ask a node of its cluster for \"%s\"", method);
}

void driver_request(void *ctx, struct script_request *request)
{
    struct ask *a = NEW(struct ask);
    a->driver = ctx;
    a->id = request->id;
    a->params = reader_of(slice_bytes(request->params));
    read_array(&a->params);
    carry_out(a, request->method);
    script_request_free(request);
}
