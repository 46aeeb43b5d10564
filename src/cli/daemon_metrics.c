#include "cli/daemon_metrics.h"

#include <string.h>

#include "cli/view.h"

/* Most is in the status map; another figure is one line more. */
static void gauge(struct metrics *m, const char *name, const char *help, double value)
{
    metrics_value(m, name, METRICS_GAUGE, help, value);
}

static void counter(struct metrics *m, const char *name, const char *help, double value)
{
    metrics_value(m, name, METRICS_COUNTER, help, value);
}

static double number(struct bytes map, const char *key)
{
    return (double)view_u64(map, key);
}

/* ---- raft ----------------------------------------------------------------------------------- */

static void peer_metrics(struct metrics *m, struct bytes peers)
{
    metrics_family(m, "peer_rtt_seconds", METRICS_GAUGE,
                   "Round trip to a peer; without a sample while it is not known.");
    for (uint32_t i = 0; i < view_count(peers); i++) {
        char id[64];
        struct bytes peer = view_at(peers, i);
        const struct metrics_label label = {"peer", view_text(peer, "id", id, sizeof id)};
        if (!view_is_nil(view_get(peer, "rtt_us"))) {
            metrics_sample(m, &label, 1, number(peer, "rtt_us") / 1e6);
        }
    }
}

static void proposal_metrics(struct metrics *m, const struct node *node)
{
    const struct node_counters *c = node_counters(node);
    gauge(m, "raft_proposals_pending", "Proposals and reads without an answer.",
          (double)node_pending(node));
    counter(m, "raft_proposals_committed_total",
            "Proposals of this node's clients and scripts that were committed and carried out.",
            (double)c->proposals[ERR_OK]);
    metrics_family(m, "raft_proposals_rejected_total", METRICS_COUNTER,
                   "The same that were answered with an error, by its code.");
    for (int e = ERR_OK + 1; e < ERR_COUNT; e++) {
        const struct metrics_label label = {"code", err_name((enum err)e)};
        if (c->proposals[e] > 0) {
            metrics_sample(m, &label, 1, (double)c->proposals[e]);
        }
    }
}

static void message_metrics(struct metrics *m, const struct node *node)
{
    const struct node_counters *c = node_counters(node);
    counter(m, "messages_sent_total",
            "Messages, calls and answers of scripts that were sent to other nodes.",
            (double)c->messages_sent);
    counter(m, "messages_received_total", "Messages and calls of other nodes' scripts.",
            (double)c->messages_received);
    counter(m, "messages_dropped_total",
            "The same, sent or received, for which there was no room here.",
            (double)c->messages_dropped);
}

static void raft_metrics(struct metrics *m, struct bytes s, const struct node *node)
{
    gauge(m, "raft_is_leader", "1 on the leader.",
          raft_role(node_raft(node)) == RAFT_LEADER ? 1 : 0);
    gauge(m, "raft_term", "Current term.", number(s, "term"));
    counter(m, "raft_commit_index", "Last committed entry.", number(s, "commit_index"));
    counter(m, "raft_applied_index", "Last applied entry.", number(s, "last_applied"));
    counter(m, "raft_leader_changes_total", "Leaders that this node has come to know.",
            (double)node_counters(node)->leader_changes);
    gauge(m, "raft_leader_silence_max_seconds",
          "Longest time that a follower heard nothing from the leader of this term.",
          number(s, "leader_silence_max_us") / 1e6);
    gauge(m, "lease_remaining_seconds", "What the leader's lease has left.",
          number(s, "lease_remaining_ms") / 1e3);
    proposal_metrics(m, node);
    peer_metrics(m, view_get(s, "peers"));
    message_metrics(m, node);
}

/* ---- disk ----------------------------------------------------------------------------------- */

static void disk_metrics(struct metrics *m, struct bytes s, struct posix_fs *fs)
{
    struct bytes disk = view_get(s, "disk"), snapshot = view_get(s, "snapshot");
    struct histogram syncs;
    posix_fs_syncs(fs, &syncs);
    metrics_family(m, "disk_fsync_seconds", METRICS_HISTOGRAM,
                   "Time that each fdatasync took, of log and snapshots.");
    metrics_histogram(m, NULL, 0, &syncs);
    counter(m, "disk_batches_total", "Batches written and synced.", number(disk, "batches"));
    counter(m, "disk_written_bytes_total", "Bytes of log written.", number(disk, "bytes"));
    gauge(m, "disk_full", "1 while the disk is full.", view_bool(disk, "full"));
    gauge(m, "snapshot_index", "Last entry that the snapshot holds; 0 without one.",
          number(snapshot, "index"));
    gauge(m, "snapshot_size_bytes", "Size of the snapshot.", number(snapshot, "bytes"));
    gauge(m, "snapshot_age_seconds", "Age of the last entry that it holds.",
          number(snapshot, "age_ms") / 1e3);
    gauge(m, "snapshot_log_first_index", "First entry that is still in the log.",
          number(snapshot, "log_begins"));
}

/* ---- scripts -------------------------------------------------------------------------------- */

struct hook_labels {
    char app[64], event[64], hook[64];
    struct metrics_label labels[3];
};

static void label_hook(struct bytes hook, struct hook_labels *out)
{
    out->labels[0] =
        (struct metrics_label){"app", view_text(hook, "app", out->app, sizeof out->app)};
    out->labels[1] =
        (struct metrics_label){"event", view_text(hook, "event", out->event, sizeof out->event)};
    out->labels[2] =
        (struct metrics_label){"hook", view_text(hook, "name", out->hook, sizeof out->hook)};
}

static void per_hook(struct metrics *m, struct bytes hooks, const char *name,
                     enum metrics_kind kind, const char *help, const char *key)
{
    metrics_family(m, name, kind, help);
    for (uint32_t i = 0; i < view_count(hooks); i++) {
        struct hook_labels l;
        struct bytes hook = view_at(hooks, i);
        label_hook(hook, &l);
        metrics_sample(m, l.labels, 3, number(hook, key));
    }
}

static void hook_durations(struct metrics *m, struct bytes hooks)
{
    metrics_family(m, "hook_duration_seconds", METRICS_HISTOGRAM,
                   "Time from the start of a hook's call to its end, waits included.");
    for (uint32_t i = 0; i < view_count(hooks); i++) {
        struct hook_labels l;
        struct bytes hook = view_at(hooks, i), buckets = view_get(hook, "buckets");
        struct histogram h = {.sum_us = view_u64(hook, "sum_us")};
        for (uint32_t j = 0; j <= HISTOGRAM_BOUNDS; j++) {
            h.counts[j] = view_as_u64(view_at(buckets, j));
        }
        label_hook(hook, &l);
        metrics_histogram(m, l.labels, 3, &h);
    }
}

static void per_app(struct metrics *m, struct bytes apps, const char *name, enum metrics_kind kind,
                    const char *help, const char *key)
{
    metrics_family(m, name, kind, help);
    for (uint32_t i = 0; i < view_count(apps); i++) {
        char text[64];
        struct bytes app = view_at(apps, i);
        const struct metrics_label label = {"app", view_text(app, "app", text, sizeof text)};
        metrics_sample(m, &label, 1, number(app, key));
    }
}

static void app_failures(struct metrics *m, struct bytes apps)
{
    metrics_family(m, "app_failed", METRICS_GAUGE,
                   "1 for an application whose main chunk did not come to its end.");
    for (uint32_t i = 0; i < view_count(apps); i++) {
        char text[64], state[16];
        struct bytes app = view_at(apps, i);
        const struct metrics_label label = {"app", view_text(app, "app", text, sizeof text)};
        metrics_sample(m, &label, 1,
                       strcmp(view_text(app, "state", state, sizeof state), "failed") == 0);
    }
}

static void script_metrics(struct metrics *m, const struct script_host *scripts)
{
    struct slice hooks_owned = script_host_hooks(scripts), apps_owned = script_host_apps(scripts);
    struct bytes hooks = slice_bytes(hooks_owned), apps = slice_bytes(apps_owned);
    hook_durations(m, hooks);
    per_hook(m, hooks, "hook_lag_entries", METRICS_GAUGE,
             "Events, or committed entries, that wait for the hook.", "lag");
    per_hook(m, hooks, "hook_errors_total", METRICS_COUNTER, "Calls that failed.", "errors");
    per_hook(m, hooks, "hook_killed_total", METRICS_COUNTER,
             "Of these, killed: over their budget, or not ended in time.", "killed");
    per_app(m, apps, "task_running", METRICS_GAUGE, "Tasks that have not ended.", "tasks");
    per_app(m, apps, "task_killed_total", METRICS_COUNTER, "Tasks that were killed.",
            "tasks_killed");
    per_app(m, apps, "script_errors_total", METRICS_COUNTER, "Errors of scripts.", "errors");
    per_app(m, apps, "lua_memory_bytes", METRICS_GAUGE, "Memory of an application's Lua state.",
            "memory_bytes");
    per_app(m, apps, "app_generation", METRICS_GAUGE,
            "How often the application was loaded: 1 at the start, one more with each reload.",
            "generation");
    app_failures(m, apps);
    slice_close(&hooks_owned);
    slice_close(&apps_owned);
    struct slice own = script_host_metrics(scripts); /* what they keep themselves */
    buffer_add_bytes(&m->out, slice_bytes(own));
    slice_close(&own);
}

void daemon_metrics_write(struct node *node, const struct script_host *scripts, struct posix_fs *fs,
                          struct metrics *page)
{
    struct buffer status = {0};
    node_status(node, &status);
    raft_metrics(page, buffer_bytes(&status), node);
    disk_metrics(page, buffer_bytes(&status), fs);
    if (scripts != NULL) {
        script_metrics(page, scripts);
    }
    buffer_close(&status);
}
