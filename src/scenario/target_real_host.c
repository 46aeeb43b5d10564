/* The machine of one node: a guardian, the node under it, and our connections to that. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "scenario/target_real_internal.h"

enum {
    LOOK_AGAIN_US = 2000,
    START_WITHIN_US = 30000000,
    CHILDLESS_LOOKS = 250, /* half a second and more; a back-off at the first starts is shorter */
    EXPLAIN_WITHIN_US =
        300000, /* a node that ended as it should, by itself, takes its guardian along */
};

static void on_timer(void *ctx);

/* ---- answering ------------------------------------------------------------------------------ */

static void answer(struct host *h, enum err err, const char *message)
{
    node_reply_fn reply = h->reply;
    h->reply = NULL;
    h->target->stage->happened = true;
    if (reply != NULL) {
        reply(h->reply_ctx, &(struct node_reply){.err = err, .message = message});
    }
}

static void refuse(node_reply_fn reply, void *ctx, enum err err, const char *message)
{
    reply(ctx, &(struct node_reply){.err = err, .message = message});
}

/* False: another request is under way, and this one is answered. */
static bool take_request(struct host *h, node_reply_fn reply, void *ctx)
{
    if (h->reply != NULL) {
        refuse(reply, ctx, ERR_BUSY, "it is being started, stopped or killed already");
        return false;
    }
    h->reply = reply;
    h->reply_ctx = ctx;
    return true;
}

/* ---- the node ------------------------------------------------------------------------------- */

static void forget_node(struct host *h)
{
    rpc_channel_close(h->control);
    rpc_channel_close(h->calls);
    process_watch_free(h->watch);
    h->control = h->calls = NULL;
    h->watch = NULL;
    h->paused = false;
}

static void await_node(struct host *h)
{
    h->state = HOST_STARTING;
    h->starting_us = target_real_now_us(h->target);
    h->childless = 0;
    loop_timer_set(h->timer, 0);
}

/* Its guardian has reaped it, and tells its peers. */
static void node_reaped(struct host *h)
{
    h->pid = 0;
    h->crashing = false;
    if (h->restarting) {
        h->restarting = false;
        kill(child_pid(h->guardian), SIGHUP);
        await_node(h);
    } else {
        h->state = HOST_CRASHED;
    }
    answer(h, ERR_OK, NULL);
}

static void on_node_died(void *ctx)
{
    struct host *h = ctx;
    forget_node(h);
    if (h->crashing && !h->off) {
        loop_timer_set(h->timer, 0); /* it is a zombie until its guardian has looked */
    } else if (h->state == HOST_UP) {
        h->state = HOST_CRASHED;
        h->unexplained = true;
        loop_timer_set(h->timer, EXPLAIN_WITHIN_US);
    }
}

static void on_notify(void *ctx, struct bytes method, struct bytes params)
{
    struct host *h = ctx;
    if (bytes_is(method, "event")) {
        target_real_take_event(h->target, h->node, params);
    }
}

static void events_ended(void *ctx, const struct rpc_answer *a)
{
    (void)ctx, (void)a; /* with the connection */
}

static void on_control_connected(void *ctx)
{
    struct host *h = ctx;
    if (h->state != HOST_STARTING) {
        return;
    }
    h->pid = child_of_process(child_pid(h->guardian));
    h->watch =
        h->pid > 0 ? process_watch_new(h->target->stage->loop, h->pid, on_node_died, h) : NULL;
    if (h->watch == NULL) { /* it has just died: the guardian's end, or the next start, is next */
        return;
    }
    h->state = HOST_UP;
    h->ever_up = true;
    rpc_channel_call(h->control, "events", (struct bytes){0}, 0, events_ended, NULL);
    const struct rpc_channel_callbacks none = {.ctx = h};
    h->calls = rpc_channel_open(h->target->stage->loop, &h->client, &none);
    target_real_note(h->target, h->node, "runs (pid %d)", (int)h->pid);
    answer(h, ERR_OK, NULL);
}

static void on_control_broken(void *ctx)
{
    struct host *h = ctx;
    rpc_channel_close(h->control);
    h->control = NULL;
    if (h->state == HOST_STARTING) {
        loop_timer_set(h->timer, LOOK_AGAIN_US);
    } /* else its process is ending, which the watch tells */
}

static void look_for_control(struct host *h)
{
    struct address socket;
    enum err e = address_of_path(h->control_path, &socket, NULL);
    ASSERT(e == ERR_OK); /* host_open() has seen to its length */
    const struct rpc_channel_callbacks callbacks = {.ctx = h,
                                                    .on_connected = on_control_connected,
                                                    .on_notify = on_notify,
                                                    .on_broken = on_control_broken};
    if (h->control == NULL) {
        h->control = rpc_channel_open(h->target->stage->loop, &socket, &callbacks);
    }
}

/* "err=wrong_node" in the line that said why; IO where there is no such thing. */
static enum err last_error(const struct host *h)
{
    const char *at = strstr(h->last_error, " err=");
    char name[32] = "";
    if (at != NULL) {
        sscanf(at, " err=%31[a-z_]", name);
    }
    enum err e = err_from_name(name);
    return e == ERR_COUNT || e == ERR_OK ? ERR_IO : e;
}

static const char *last_words(const struct host *h)
{
    const char *message = strstr(h->last_error, "msg=");
    return message != NULL ? message : h->last_error;
}

/* Who was removed from the cluster, or has lost its disk, ends by itself, once it is told. */
static bool ends_by_itself(const struct host *h)
{
    return h->wiped || last_error(h) == ERR_NOT_FOUND;
}

/* While it was started, under a guardian that waits: there has been no node for a while. */
static bool has_died_again(struct host *h)
{
    if (child_of_process(child_pid(h->guardian)) > 0) {
        h->childless = 0;
        return false;
    }
    return ++h->childless > CHILDLESS_LOOKS;
}

static void on_timer(void *ctx)
{
    struct host *h = ctx;
    if (h->crashing) {
        if (kill(h->pid, 0) == 0) {
            loop_timer_set(h->timer, LOOK_AGAIN_US);
        } else {
            node_reaped(h);
        }
    } else if (h->state == HOST_STARTING && has_died_again(h)) {
        h->state = HOST_CRASHED;
        rpc_channel_close(h->control);
        h->control = NULL;
        answer(h, last_error(h), h->last_error[0] != 0 ? last_words(h) : "it died at its start");
    } else if (h->state == HOST_STARTING) {
        if (h->reply != NULL && target_real_now_us(h->target) - h->starting_us >
                                    h->target->stage->patience * START_WITHIN_US) {
            answer(h, ERR_TIMEOUT, h->last_error[0] != 0 ? last_words(h) : "it does not come up");
        }
        look_for_control(h);
    } else if (h->unexplained && !ends_by_itself(h)) {
        h->unexplained = false;
        target_real_fail(h->target, "n%u died, and nobody had asked for that: %s", h->node,
                         h->last_error[0] != 0 ? h->last_error : "see its last lines");
    }
}

/* ---- the guardian --------------------------------------------------------------------------- */

static void on_line(void *ctx, const char *text)
{
    struct host *h = ctx;
    real_timeline_log(h->target->timeline, target_real_now_us(h->target), h->node, text);
    if (strstr(text, "level=error") != NULL || strstr(text, "assertion") != NULL) {
        snprintf(h->last_error, sizeof h->last_error, "%s", text);
    }
}

static void on_guardian_ended(void *ctx, int status)
{
    struct host *h = ctx;
    enum host_state before = h->state;
    bool killed = h->crashing;
    bool refused = before != HOST_STARTING && ends_by_itself(h);
    bool planned = refused || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
    child_free(h->guardian);
    h->guardian = NULL;
    forget_node(h);
    loop_timer_stop(h->timer);
    h->state = HOST_DOWN;
    h->pid = 0;
    h->crashing = h->restarting = h->unexplained = false;
    if (killed || planned) {
        target_real_note(h->target, h->node, killed ? "its machine is off" : "has stopped");
        answer(h, ERR_OK, NULL);
    } else if (h->reply != NULL) {
        answer(h, last_error(h), last_words(h));
    } else if (before != HOST_DOWN) {
        target_real_fail(h->target, "n%u ended, and nobody had asked for that: %s", h->node,
                         h->last_error[0] != 0 ? last_words(h) : "see its last lines");
    }
}

static enum err start_guardian(struct host *h, struct why *why)
{
    struct buffer dial = {0};
    char http[ADDRESS_TEXT_MAX];
    target_real_dial_map(h, &dial);
    const char *const argv[] = {h->target->stage->program,
                                "start",
                                "-c",
                                h->config,
                                "--test-control",
                                "--test-dial",
                                buffer_text(&dial),
                                "--test-http",
                                address_text(http_server_address(h->outside), http),
                                NULL};
    const struct child_options options = {
        .argv = argv, .ctx = h, .line = on_line, .ended = on_guardian_ended};
    enum err e = child_start(h->target->stage->loop, &options, &h->guardian, why);
    buffer_close(&dial);
    return e;
}

/* ---- requests ------------------------------------------------------------------------------- */

void host_start(struct host *h, node_reply_fn reply, void *ctx)
{
    if (h->state != HOST_DOWN && h->state != HOST_CRASHED) {
        refuse(reply, ctx, ERR_EXISTS, "it runs already");
        return;
    }
    if (!take_request(h, reply, ctx)) {
        return;
    }
    struct why why = {""};
    h->last_error[0] = 0;
    h->unexplained = false;
    if (h->off) {
        target_real_reset_links(h->target, h->node);
        h->off = false;
        target_real_set_cuts(h->target);
    }
    if (h->state == HOST_CRASHED) {
        kill(child_pid(h->guardian), SIGHUP);
    } else if (start_guardian(h, &why) != ERR_OK) {
        answer(h, ERR_IO, why.text);
        return;
    }
    target_real_note(h->target, h->node, "is started");
    await_node(h);
}

void host_stop(struct host *h, node_reply_fn reply, void *ctx)
{
    if (h->state != HOST_UP) {
        refuse(reply, ctx, ERR_NOT_FOUND, "it does not run");
    } else if (take_request(h, reply, ctx)) {
        target_real_note(h->target, h->node, "SIGTERM");
        h->state = HOST_STOPPING;
        kill(child_pid(h->guardian), SIGTERM);
    }
}

void host_crash(struct host *h, const struct target_crash *how, node_reply_fn reply, void *ctx)
{
    bool something = h->state == HOST_UP || (how->host && h->state == HOST_CRASHED);
    if (!something) {
        refuse(reply, ctx, ERR_NOT_FOUND, "it does not run");
        return;
    }
    if (!take_request(h, reply, ctx)) {
        return;
    }
    h->crashing = true;
    if (how->host) {
        h->off = true;
        target_real_set_cuts(h->target); /* before: a machine without power closes no connection */
        target_real_note(h->target, h->node, "SIGKILL to guardian and node");
        kill(child_pid(h->guardian), SIGKILL);
    } else {
        target_real_note(h->target, h->node, "SIGKILL");
        h->restarting = how->auto_restart;
    }
    if (h->pid > 0) {
        kill(h->pid, SIGKILL);
    }
}

void host_pause(struct host *h, bool paused)
{
    if (h->pid > 0 && h->state == HOST_UP && h->paused != paused) {
        target_real_note(h->target, h->node, paused ? "SIGSTOP" : "SIGCONT");
        kill(h->pid, paused ? SIGSTOP : SIGCONT);
        h->paused = paused;
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

enum err host_open(struct host *h, struct target_real *t, uint32_t node, struct why *why)
{
    h->target = t;
    h->node = node;
    snprintf(h->name, sizeof h->name, "n%u", node);
    h->reserved[0] = h->reserved[1] = h->reserved[2] = -1;
    h->timer = loop_timer_new(t->stage->loop, on_timer, h);
    snprintf(h->directory, sizeof h->directory, "%s/n%u", t->directory, node);
    snprintf(h->config, sizeof h->config, "%s/n%u.lua", t->directory, node);
    snprintf(h->control_path, sizeof h->control_path, "%s/control", h->directory);
    struct address socket;
    enum err e = address_of_path(h->control_path, &socket, why);
    e = e != ERR_OK ? e : address_reserve(&h->peer, &h->reserved[0], why);
    e = e != ERR_OK ? e : address_reserve(&h->client, &h->reserved[1], why);
    e = e != ERR_OK ? e : address_reserve(&h->http, &h->reserved[2], why);
    e = e != ERR_OK ? e : target_real_http_open(h, why);
    if (e == ERR_OK && mkdir(h->directory, S_IRWXU) != 0) {
        e = err_why(why, ERR_IO, "cannot make %s: %s", h->directory, strerror(errno));
    }
    return e;
}

void host_close(struct host *h)
{
    if (h->target == NULL) {
        return;
    }
    forget_node(h);
    if (h->guardian != NULL) {
        pid_t guardian = child_pid(h->guardian);
        kill(guardian, SIGSTOP); /* it is not to start another node while we end this one */
        pid_t node = child_of_process(guardian);
        if (node > 0) {
            process_end(node);
        }
        child_free(h->guardian);
        h->guardian = NULL;
    }
    loop_timer_free(h->timer);
    target_real_http_close(h);
    for (int i = 0; i < 3; i++) {
        if (h->reserved[i] >= 0) {
            close(h->reserved[i]);
        }
    }
    answer(h, ERR_SHUTDOWN, NULL);
    *h = (struct host){0};
}
