/* Scripts of a simulated node, loaded anew while it runs. */
#include <stdlib.h>

#include "base/alloc.h"
#include "scenario/target_sim_internal.h"
#include "wire/writer.h"

void target_sim_list_scripts(const struct target_options *o,
                             struct script_app out[TARGET_SCRIPTS_MAX])
{
    for (uint32_t i = 0; i < o->scripts_count; i++) {
        out[i] = (struct script_app){.name = o->scripts[i].name,
                                     .path = o->scripts[i].path,
                                     .config = buffer_bytes(&o->scripts[i].config),
                                     .lua_path_more = o->scripts[i].lua_path};
    }
}

struct waiting {
    struct target_sim *target;
    node_reply_fn reply;
    void *ctx;
};

static void on_reloaded(void *ctx, enum err err, const char *message, struct bytes results)
{
    struct waiting *w = ctx;
    struct buffer answer = {0};
    w->target->stage->happened = true;
    if (err == ERR_OK) {
        write_map(&answer, 2);
        write_text(&answer, "apps");
        write_raw(&answer, results);
        write_text(&answer, "restart");
        write_array(&answer, 0);
    }
    w->reply(w->ctx,
             &(struct node_reply){.err = err, .message = message, .result = buffer_bytes(&answer)});
    buffer_close(&answer);
    free(w);
}

void target_sim_reload(struct target *target, uint32_t node, const struct target_options *scripts,
                       node_reply_fn reply, void *ctx)
{
    struct target_sim *t = target_sim_of(target);
    struct sim_process *p = target_sim_process(t, node);
    cluster_note(t->cluster, node - 1, "reloads");
    if (scripts != NULL) {
        target_sim_list_scripts(scripts, t->reloaded[node - 1]);
        sim_process_set_scripts(p, t->reloaded[node - 1], scripts->scripts_count);
    }
    struct waiting *w = NEW(struct waiting);
    *w = (struct waiting){.target = t, .reply = reply, .ctx = ctx};
    if (!sim_process_reload(p, on_reloaded, w)) {
        free(w);
        reply(ctx,
              &(struct node_reply){.err = ERR_UNREACHABLE, .message = "the node does not run"});
    }
}
