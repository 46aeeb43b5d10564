#include "cli/daemon.h"

#include <malloc.h>
#include <sha2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "cli/addresses.h"
#include "cli/cli.h"
#include "cli/daemon_control.h"
#include "cli/daemon_http.h"
#include "cli/daemon_reload.h"
#include "cli/daemon_scripts.h"
#include "net/disk_thread.h"
#include "net/http_server.h"
#include "net/links.h"
#include "net/loop.h"
#include "net/posix_fs.h"
#include "net/rpc_server.h"
#include "net/system_entropy.h"
#include "node/node.h"
#include "script/embed.h"

struct daemon {
    const struct config *config;
    const struct daemon_source *source;
    const struct daemon_test *test;
    const struct log *log;
    const struct guardian_host *host;
    struct addresses addresses;

    struct clock_port clock;
    struct transport_port transport; /* to links, with a word to the guardian */
    struct transport_port links_transport;
    struct loop *loop;
    struct posix_fs *fs;
    struct disk_thread *disk;
    struct node *node;
    struct links *links;
    struct rpc_server *rpc;
    struct daemon_http *http;
    struct daemon_scripts *scripts; /* NULL: no apps, and nobody to evaluate anything */
    struct daemon_reload *reload;
    struct daemon_control *control; /* NULL but under test */

    struct loop_timer *patience; /* with main chunks that do not come to an end */
    bool loaded;                 /* the guardian was told */
    unsigned stops_asked;
    int exit_status;
};

/* ---- the node's ports ----------------------------------------------------------------------- */

static void transport_send(void *ctx, uint64_t peer, struct slice frame)
{
    struct daemon *d = ctx;
    d->links_transport.send(d->links_transport.ctx, peer, frame);
}

static bool transport_send_behind_raft(void *ctx, uint64_t peer, struct slice frame)
{
    struct daemon *d = ctx;
    return d->links_transport.send_behind(d->links_transport.ctx, peer, frame);
}

static void transport_set_peers(void *ctx, const struct transport_peer *peers, uint32_t count)
{
    struct daemon *d = ctx;
    d->links_transport.set_peers(d->links_transport.ctx, peers, count);
    guardian_wake(d->host->wake_fd); /* it keeps links to the same */
}

static uint64_t transport_round_trip(void *ctx, uint64_t peer)
{
    struct daemon *d = ctx;
    return transport_round_trip_us(&d->links_transport, peer);
}

static void want_round_end(void *ctx)
{
    struct daemon *d = ctx;
    loop_again(d->loop);
}

static void stopped(void *ctx, enum err err, const char *message)
{
    (void)message; /* the node has logged it */
    struct daemon *d = ctx;
    if (err == ERR_WRONG_NODE || err == ERR_NOT_FOUND) { /* its peers refuse it, and would again */
        d->exit_status = EXIT_ERROR;
        atomic_store(&d->host->page->next, GUARDIAN_ENDS);
    } else {
        d->exit_status = GUARDIAN_EXIT_STORAGE;
    }
    loop_stop(d->loop);
}

static void shutdown_done(void *ctx)
{
    struct daemon *d = ctx;
    loop_stop(d->loop);
}

static void begin_shutdown(void *ctx)
{
    struct daemon *d = ctx;
    uint64_t deadline_us = clock_now_us(&d->clock) + d->config->stop_ms * 1000;
    node_shutdown(d->node, deadline_us, shutdown_done, d);
}

/* Who votes for whom is worth a line each: elections are rare, and this is how they are followed.
 */
static void log_votes(void *ctx, const struct raft_event *event, const struct raft_effects *effects)
{
    struct daemon *d = ctx;
    (void)event;
    for (uint32_t i = 0; i < effects->messages_count; i++) {
        const struct raft_message *m = &effects->messages[i];
        if (m->type == RAFT_MESSAGE_VOTE_REPLY && m->vote_reply.granted) {
            const struct membership_member *to = membership_find(node_members(d->node), m->to);
            log_info(d->log, m->vote_reply.prevote ? "granted its pre-vote" : "granted its vote",
                     log_text("to", to != NULL ? to->name : "?"), log_u64("term", m->term));
        }
    }
}

static void tell_applied(void *ctx, struct raft_pos pos, const struct entry *entry,
                         enum err outcome, bool duplicate)
{
    (void)outcome, (void)duplicate;
    struct daemon *d = ctx;
    daemon_control_applied(d->control, pos, entry);
}

static void tell_event(void *ctx, const char *name, raft_term term, struct bytes fields)
{
    struct daemon *d = ctx;
    daemon_control_event(d->control, name, term, fields);
    daemon_http_note(d->http, name, term, fields);
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void tell_loaded(struct daemon *d)
{
    d->loaded = true;
    atomic_store(&d->host->page->loaded, true);
    guardian_wake(d->host->wake_fd);
}

/* Who started this node waits to hear that it is up, and would give it up in the end. A script may
 * not take a voter away: its troubles are told by /readyz and `moonkeeper status`. */
static void on_patience_over(void *ctx)
{
    struct daemon *d = ctx;
    if (!d->loaded) {
        log_warn(d->log, "a script's main chunk neither ends nor waits: not waited for any longer");
        tell_loaded(d);
    }
}

static void on_wake(void *ctx)
{
    struct daemon *d = ctx;
    disk_thread_drain(d->disk);
    daemon_scripts_drain(d->scripts);
    if (!d->loaded && daemon_scripts_loaded(d->scripts)) {
        tell_loaded(d);
    }
}

static void on_deadline(void *ctx)
{
    struct daemon *d = ctx;
    node_tick(d->node);
}

static void on_round_end(void *ctx)
{
    struct daemon *d = ctx;
    node_round_end(d->node);
    loop_set_deadline(d->loop, node_deadline(d->node));
}

static void on_terminate(void *ctx)
{
    struct daemon *d = ctx;
    d->stops_asked++;
    if (d->stops_asked == 1) {
        begin_shutdown(d);
    } else {
        log_warn(d->log, "stopping at once: asked a second time");
        loop_stop(d->loop);
    }
}

static void on_hangup(void *ctx)
{
    struct daemon *d = ctx;
    daemon_reload_ask(d->reload, NULL);
}

static void wake_loop(void *ctx)
{
    struct daemon *d = ctx;
    loop_wake(d->loop);
}

/* ---- peers ---------------------------------------------------------------------------------- */

static void on_frame(void *ctx, uint64_t peer, const struct raft_incarnation *sender,
                     struct slice frame)
{
    struct daemon *d = ctx;
    node_receive(d->node, peer, sender->hash, frame);
}

static void on_link_up(void *ctx, uint64_t peer)
{
    struct daemon *d = ctx;
    node_link_up(d->node, peer);
}

static void on_link_down(void *ctx, uint64_t peer)
{
    struct daemon *d = ctx;
    node_link_down(d->node, peer);
}

static enum err check_peer(void *ctx, const struct handshake *peer, struct why *why)
{
    struct daemon *d = ctx;
    enum err e = node_check_peer(d->node, &(struct node_peer){
                                              .id = peer->node_id,
                                              .storage_uuid = peer->storage_uuid,
                                              .last = peer->last,
                                          });
    if (e == ERR_NOT_FOUND) {
        return err_why(why, e, "node \"%s\" was removed from cluster \"%s\"", peer->node,
                       d->config->cluster);
    }
    if (e == ERR_WRONG_NODE) {
        return err_why(why, e,
                       "node \"%s\" came back with another data directory than it had; its disk "
                       "was wiped or replaced, so it may have forgotten votes and entries that it "
                       "promised to keep; restore its old directory, or remove it from the cluster "
                       "and add it under another id",
                       peer->node);
    }
    return e;
}

static struct raft_pos last(void *ctx)
{
    const struct daemon *d = ctx;
    return node_last(d->node);
}

static void on_refused(void *ctx, uint64_t peer, enum err verdict)
{
    struct daemon *d = ctx;
    node_refused(d->node, peer, verdict);
}

static void on_certificate(void *ctx, uint64_t dead, const uint8_t revealed[16])
{
    struct daemon *d = ctx;
    node_certificate(d->node, dead, revealed);
}

/* ---- clients -------------------------------------------------------------------------------- */

static void answer_call(void *ctx, const struct node_reply *reply)
{
    struct rpc_call *call = ctx;
    if (reply->err == ERR_OK) {
        rpc_reply(call, reply->result);
    } else {
        rpc_fail(call, reply->err, reply->message, reply->leader, reply->result);
    }
}

static bool takes_answer(void *ctx)
{
    return rpc_call_takes_answer(ctx);
}

static void on_request(void *ctx, struct rpc_call *call, struct bytes method, struct bytes params)
{
    struct daemon *d = ctx;
    if (bytes_equal(method, bytes_of_string("reload"))) { /* of the process, not of the node */
        daemon_reload_ask(d->reload, call);
        return;
    }
    const struct node_caller caller = {.reply = answer_call, .ctx = call, .takes = takes_answer};
    node_call_from(d->node, method, params, &caller);
}

static void on_takes_again(void *ctx)
{
    struct daemon *d = ctx;
    node_takes_again(d->node);
}

/* ---- putting it together -------------------------------------------------------------------- */

static struct raft_options raft_options_of(const struct config *c)
{
    uint64_t min_us = c->election_min_ms * 1000;
    return (struct raft_options){
        .election_min_us = min_us,
        .election_max_us = c->election_max_ms * 1000,
        .heartbeat_us = c->heartbeat_ms * 1000,
        .lease_us = min_us,
        .drift_permille = 100,
        .window_entries = 16384,
        .window_bytes = 8 << 20,
        .append_entries_max = 4096,
        .append_bytes_max = 1 << 20,
        .uncommitted_bytes_max = 64 << 20,
        .transfer_timeout_us = min_us,
        .prevote = c->prevote,
        .check_quorum = c->check_quorum,
        .lease = c->lease,
        .fast_failover = c->fast_failover,
    };
}

/* A predecessor that was killed together with its guardian may need a moment to be gone: its last
 * write has to come back from the disk first. */
static enum err open_when_unlocked(struct daemon *d, const struct node_options *options,
                                   const struct node_ports *ports, struct why *why)
{
    enum { PATIENCE_US = 3000000, RETRY_US = 5000 };
    uint64_t end_us = clock_now_us(&d->clock) + PATIENCE_US;
    for (;;) {
        enum err e = node_open(options, ports, &d->node, why);
        if (e != ERR_LOCKED || clock_now_us(&d->clock) >= end_us) {
            return e;
        }
        usleep(RETRY_US);
    }
}

static enum err check_peer_address(const char *peer_address, struct why *why)
{
    struct address peer;
    enum err e = address_parse(peer_address, 0, &peer, why);
    if (e == ERR_OK && peer.port == 0) {
        e = err_why(why, ERR_INVALID, "\"%s\" cannot be connected to: its port is 0", peer_address);
    }
    return e;
}

static enum err open_node(struct daemon *d, struct why *why)
{
    const struct config *c = d->config;
    char client[ADDRESS_TEXT_MAX], http[ADDRESS_TEXT_MAX];
    struct node_options options = {
        .name = c->id,
        .cluster = c->cluster,
        .client_address = address_text(&d->addresses.client, client),
        .http_address = d->addresses.has_http ? address_text(&d->addresses.http, http) : NULL,
        .peer_address = config_self(c)->peer,
        .raft = raft_options_of(c),
        .segment_bytes = c->limits.segment_bytes,
        .pending_max = (uint32_t)c->limits.pending,
        .proposal_bytes_max = (uint32_t)c->limits.proposal_bytes,
        .cache_bytes_max = c->limits.cache_bytes,
        .snapshot = {.entries = c->snapshot.entries,
                     .bytes = c->snapshot.bytes,
                     .keep_entries = c->snapshot.keep_entries,
                     .hold_bytes = c->snapshot.hold_bytes},
        .check_address = check_peer_address,
        .observer = {.ctx = d, .stepped = log_votes, .event = tell_event},
    };
    if (d->test->control) {
        options.observer.applied = tell_applied; /* the busiest: only if somebody may ask */
    }
    struct bytes kv = embed_find("moonkeeper/machines/kv.sm.lua");
    ASSERT(kv.data != NULL);
    options.kv_source = (const char *)kv.data;
    options.kv_source_size = kv.size;
    config_membership(c, &options.members);
    d->transport = (struct transport_port){.ctx = d,
                                           .send = transport_send,
                                           .send_behind = transport_send_behind_raft,
                                           .set_peers = transport_set_peers,
                                           .round_trip_us = transport_round_trip};
    const struct node_ports ports = {
        .clock = &d->clock,
        .entropy = system_entropy(),
        .fs = posix_fs_port(d->fs),
        .disk = disk_thread_port(d->disk),
        .transport = &d->transport,
        .log = d->log,
        .page = d->host->page,
        .ctx = d,
        .want_round_end = want_round_end,
        .want_shutdown = begin_shutdown,
        .stopped = stopped,
    };
    return open_when_unlocked(d, &options, &ports, why);
}

static enum err open_links(struct daemon *d, struct why *why)
{
    struct links_options options = {
        .listen = d->addresses.peer,
        .dial = &d->test->dial,
        .seed = entropy_u64(system_entropy()),
    };
    struct handshake *self = &options.self;
    struct membership members;
    config_membership(d->config, &members);
    self->role = HANDSHAKE_NODE;
    self->cluster_id = node_cluster_id(d->config->cluster, &members);
    self->node_id = node_id(d->node);
    /* config_check() has seen to their lengths. */
    snprintf(self->cluster, sizeof self->cluster, "%s", d->config->cluster);
    snprintf(self->node, sizeof self->node, "%s", d->config->id);
    memcpy(self->storage_uuid, node_storage_uuid(d->node), sizeof self->storage_uuid);
    SHA2_CTX sha;
    SHA256Init(&sha);
    SHA256Update(&sha, d->host->page->incarnation, sizeof d->host->page->incarnation);
    SHA256Final(self->incarnation.hash, &sha);

    const struct links_callbacks callbacks = {
        .ctx = d,
        .on_frame = on_frame,
        .on_up = on_link_up,
        .on_down = on_link_down,
        .check_peer = check_peer,
        .last = last,
        .on_refused = on_refused,
        .on_certificate = on_certificate,
    };
    enum err e = links_open(d->loop, &options, &callbacks, d->log, &d->links, why);
    if (e == ERR_OK) {
        d->links_transport = links_transport(d->links);
    }
    return e;
}

/* Of one client: a command that is allowed gets in, with its names and options around it. */
static uint32_t message_bytes_max(const struct daemon *d)
{
    enum { MESSAGE_BYTES_MIN = 4 << 20, ENVELOPE_BYTES = 64 << 10 };
    uint64_t message = d->config->limits.proposal_bytes + ENVELOPE_BYTES;
    return (uint32_t)(message < MESSAGE_BYTES_MIN ? MESSAGE_BYTES_MIN : message);
}

static enum err open_rpc(struct daemon *d, struct why *why)
{
    const struct rpc_server_options options = {
        .listen = d->addresses.client,
        .frame_bytes_max = message_bytes_max(d),
        .connections_max = (uint32_t)d->config->limits.clients,
    };
    const struct rpc_server_callbacks callbacks = {
        .ctx = d, .on_request = on_request, .on_takes_again = on_takes_again};
    return rpc_server_open(d->loop, &options, &callbacks, d->log, &d->rpc, why);
}

static enum err open_control(struct daemon *d, struct why *why)
{
    const struct daemon_control_options options = {
        .loop = d->loop,
        .clock = &d->clock,
        .data_dir = d->config->data_dir,
        .node = d->node,
        .host = d->test->control ? daemon_scripts_host(d->scripts) : NULL,
        .page = d->host->page,
        .log = d->log,
    };
    return d->test->control ? daemon_control_open(&options, &d->control, why) : ERR_OK;
}

static enum err open_all(struct daemon *d, struct why *why)
{
    enum err e = addresses_of(d->config, &d->addresses, why);
    d->clock = loop_clock();
    d->loop = loop_new();
    if (e == ERR_OK && (d->config->apps_count > 0 || d->test->control)) {
        const struct daemon_scripts_options options = {
            .config = d->config,
            .clock = &d->clock,
            .loop = d->loop,
            .log = d->log,
            .http_instead = d->test->has_http ? &d->test->http : NULL,
            .guardian = d->host};
        e = daemon_scripts_open(&options, &d->scripts, why);
    }
    e = e != ERR_OK ? e : posix_fs_open(d->config->data_dir, &d->fs, why);
    if (e == ERR_OK && disk_thread_start(wake_loop, d, &d->disk) != ERR_OK) {
        e = err_why(why, ERR_IO, "cannot start the disk thread");
    }
    e = e != ERR_OK ? e : open_node(d, why);
    e = e != ERR_OK ? e : open_links(d, why);
    e = e != ERR_OK ? e : open_rpc(d, why);
    e = e != ERR_OK ? e : open_control(d, why);
    if (e == ERR_OK && d->addresses.has_http) {
        const struct daemon_http_options options = {
            .loop = d->loop,
            .listen = &d->addresses.http,
            .body_bytes_max = message_bytes_max(d),
            .node = d->node,
            .scripts = d->scripts != NULL ? daemon_scripts_host(d->scripts) : NULL,
            .fs = d->fs,
            .log = d->log,
        };
        e = daemon_http_open(&options, &d->http, why);
    }
    return e;
}

static void start_all(struct daemon *d)
{
    d->reload = daemon_reload_new(&(struct daemon_reload_options){.loop = d->loop,
                                                                  .config = d->config,
                                                                  .source = d->source,
                                                                  .scripts = d->scripts,
                                                                  .log = d->log});
    loop_on_signal(d->loop, SIGTERM, on_terminate, d);
    loop_on_signal(d->loop, SIGHUP, on_hangup, d);
    loop_on_wake(d->loop, on_wake, d);
    loop_on_deadline(d->loop, on_deadline, d);
    loop_at_round_end(d->loop, LOOP_WORK, on_round_end, d);
    if (d->scripts != NULL) {
        node_set_script_host(d->node, daemon_scripts_host(d->scripts));
    }
    node_start(d->node);
    loop_again(d->loop); /* its first deadline is set at the end of a round */
}

static void say_ready(struct daemon *d)
{
    char peer[ADDRESS_TEXT_MAX], client[ADDRESS_TEXT_MAX], http[ADDRESS_TEXT_MAX];
    enum { PATIENCE_US = 5000000 };
    atomic_store(&d->host->page->ready, true);
    d->patience = loop_timer_new(d->loop, on_patience_over, d);
    loop_timer_set(d->patience, PATIENCE_US);
    loop_wake(d->loop); /* there may be no script to wait for */
    guardian_wake(d->host->wake_fd);
    log_info(d->log, "ready", log_text("peer", address_text(links_address(d->links), peer)),
             log_text("client", address_text(rpc_server_address(d->rpc), client)),
             log_text("http",
                      d->http != NULL ? address_text(daemon_http_address(d->http), http) : "off"),
             log_text("data_dir", d->config->data_dir));
}

/* Threads first. What the disk has still done reaches the node, and so its links; the node then
 * answers what is pending, and so needs the servers. */
static void close_all(struct daemon *d)
{
    daemon_scripts_stop(d->scripts);
    disk_thread_stop(d->disk);
    daemon_reload_free(d->reload);
    daemon_control_close(d->control);
    d->control = NULL;
    node_free(d->node);
    daemon_http_close(d->http);
    rpc_server_close(d->rpc);
    links_close(d->links);
    daemon_scripts_close(d->scripts);
    posix_fs_close(d->fs);
    loop_timer_free(d->patience);
    loop_free(d->loop);
}

int daemon_run(const struct config *config, const struct daemon_source *source,
               const struct daemon_test *test, const struct log *log,
               const struct guardian_host *host)
{
    /* Three threads allocate, two of them little: arenas of their own cost more than they give. */
    mallopt(M_ARENA_MAX, 1);
    signal(SIGPIPE, SIG_IGN);
    struct daemon d = {.config = config, .source = source, .test = test, .log = log, .host = host};
    struct why why = {""};
    enum err e = open_all(&d, &why);
    if (e == ERR_OK) {
        start_all(&d);
        e = daemon_scripts_start(d.scripts, d.node, &why);
    }
    if (e != ERR_OK) {
        log_error(log, "cannot start",
                  log_text("err", why.text[0] != 0 ? why.text : err_message(e)));
        d.exit_status = EXIT_ERROR;
    } else {
        say_ready(&d);
        loop_run(d.loop);
        log_info(log, "stopped");
    }
    close_all(&d);
    return d.exit_status;
}
