/* HTTP in a simulated cluster: the servers that scripts ask are the cluster's; requests to a node
 * are for the routes of its scripts. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "scenario/target_sim_internal.h"
#include "wire/writer.h"

struct http_servers *target_sim_http_servers(struct target *target)
{
    return cluster_http_servers(target_sim_of(target)->cluster);
}

/* Until both the script host and the clock have come back to it. */
struct sim_http_ask {
    struct target_sim *target;
    uint64_t incarnation;
    uint32_t node;
    node_reply_fn reply; /* NULL: it was answered */
    void *ctx;
    bool host_is_done, time_is_over;
    LIST_ENTRY(sim_http_ask) link;
};

static void answer(struct sim_http_ask *a, const struct node_reply *reply)
{
    if (a->reply != NULL) {
        a->target->stage->happened = true;
        a->reply(a->ctx, reply);
        a->reply = NULL;
    }
}

static void leave(struct sim_http_ask *a)
{
    if (a->host_is_done && a->time_is_over) {
        LIST_REMOVE(a, link);
        free(a);
    }
}

/* What the script host of a process says that has died meanwhile, nobody hears. */
static bool lives(const struct sim_http_ask *a)
{
    const struct sim_process *p = target_sim_process(a->target, a->node);
    return sim_process_running(p) && sim_process_incarnations(p) == a->incarnation;
}

static void on_done(void *ctx, struct bytes result)
{
    struct sim_http_ask *a = ctx;
    bool heard = !a->target->closing && lives(a);
    answer(a, &(struct node_reply){.err = heard ? ERR_OK : ERR_UNREACHABLE, .result = result});
    a->host_is_done = true;
    leave(a);
}

static void on_timeout(void *ctx, uint64_t arg)
{
    struct sim_http_ask *a = ctx;
    (void)arg;
    answer(a,
           &(struct node_reply){.err = ERR_TIMEOUT, .message = "the node did not answer in time"});
    a->time_is_over = true;
    leave(a);
}

static void write_fields(const struct target_http *request, struct buffer *out)
{
    write_array(out, (uint32_t)(2 * request->fields_count));
    for (size_t i = 0; i < request->fields_count; i++) {
        write_text(out, request->fields[i].name);
        write_text(out, request->fields[i].value);
    }
}

static bool hand_over(struct sim_http_ask *a, const struct target_http *request)
{
    struct buffer fields = {0}, path = {0};
    size_t path_size = strcspn(request->target, "?");
    const char *query = request->target + path_size;
    write_fields(request, &fields);
    bool taken = url_decode_path(bytes_of(request->target, path_size), &path) &&
                 sim_process_http(target_sim_process(a->target, a->node),
                                  &(struct script_http_request){
                                      .method = request->method,
                                      .path = buffer_text(&path),
                                      .query = *query == '?' ? query + 1 : query,
                                      .remote = "192.0.2.1:50000",
                                      .fields = buffer_bytes(&fields),
                                      .body = request->body,
                                      .done = on_done,
                                      .ctx = a,
                                  });
    buffer_close(&fields);
    buffer_close(&path);
    return taken;
}

void target_sim_http(struct target *target, uint32_t node, const struct target_http *request,
                     node_reply_fn reply, void *ctx)
{
    struct target_sim *t = target_sim_of(target);
    struct sim_http_ask *a = NEW(struct sim_http_ask);
    *a = (struct sim_http_ask){.target = t,
                               .node = node,
                               .incarnation = sim_process_incarnations(target_sim_process(t, node)),
                               .reply = reply,
                               .ctx = ctx};
    LIST_INSERT_HEAD(&t->http_asks, a, link);
    if (hand_over(a, request)) {
        world_after(cluster_world(t->cluster), request->timeout_us, on_timeout, a, 0);
        return;
    }
    answer(a, &(struct node_reply){.err = ERR_UNREACHABLE, .message = "the node does not run"});
    a->host_is_done = a->time_is_over = true;
    leave(a);
}

void target_sim_http_close(struct target_sim *t)
{
    for (struct sim_http_ask *a = LIST_FIRST(&t->http_asks), *next; a != NULL; a = next) {
        next = LIST_NEXT(a, link);
        answer(a, &(struct node_reply){.err = ERR_SHUTDOWN});
        LIST_REMOVE(a, link);
        free(a);
    }
}
