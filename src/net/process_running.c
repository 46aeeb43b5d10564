/* One process of a script: pipes, calls that wait, its end. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "net/processes_internal.h"
#include "net/program_tag.h"
#include "wire/writer.h"

static void answer_with(struct running *r, uint64_t call, struct buffer *result)
{
    processes_answer(r->all, call, ERR_OK, NULL, slice_copy(buffer_bytes(result)));
    buffer_close(result);
}

static void answer_error(struct running *r, uint64_t call, enum err err, const char *message)
{
    processes_answer(r->all, call, err, message, (struct slice){0});
}

static void call_add(struct waiting_calls *calls, uint64_t call, uint64_t at)
{
    struct waiting_call *c = NEW(struct waiting_call);
    *c = (struct waiting_call){.call = call, .at = at};
    STAILQ_INSERT_TAIL(calls, c, link);
}

/* The next call, taken, if what it waits for has come; else 0. */
static uint64_t call_take(struct waiting_calls *calls, uint64_t reached)
{
    struct waiting_call *c = STAILQ_FIRST(calls);
    if (c == NULL || c->at > reached) {
        return 0;
    }
    uint64_t call = c->call;
    STAILQ_REMOVE_HEAD(calls, link);
    free(c);
    return call;
}

static void fail_calls(struct running *r, struct waiting_calls *calls, enum err err,
                       const char *message)
{
    uint64_t call;
    while ((call = call_take(calls, UINT64_MAX)) != 0) {
        answer_error(r, call, err, message);
    }
}

/* ---- what it writes ------------------------------------------------------------------------- */

static void close_stream(struct stream *s)
{
    if (s->fd >= 0) {
        event_free(s->readable);
        close(s->fd);
        s->fd = -1;
    }
}

/* Read until there is no room or nothing more for now. Who has ended writes no more: what its pipe
 * then has nothing of is over, even if somebody who left its group holds the other end. */
static void fill(struct running *r, struct stream *s)
{
    while (s->fd >= 0 && s->kept.size < PROCESS_UNREAD_MAX) {
        size_t room = PROCESS_UNREAD_MAX - s->kept.size;
        ssize_t got = read(s->fd, buffer_reserve(&s->kept, room), room);
        if (got > 0) {
            s->kept.size += (size_t)got;
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else if (got < 0 && errno == EAGAIN && !r->ended) {
            event_add(s->readable, NULL);
            return;
        } else {
            close_stream(s);
        }
    }
}

/* Answer the call that waits, if there is something for it. */
static void serve(struct running *r, struct stream *s)
{
    if (s->call == 0) {
        return;
    }
    uint64_t past = s->wanted - s->begin;
    if (s->wanted > s->begin) {
        size_t done = past < s->kept.size ? (size_t)past : s->kept.size;
        buffer_consume(&s->kept, done);
        s->begin += done;
    }
    fill(r, s);
    if (s->kept.size == 0 && s->fd >= 0) {
        return;
    }
    struct buffer result = {0};
    if (s->kept.size > 0) {
        write_bin(&result, buffer_bytes(&s->kept));
    } else {
        write_nil(&result);
    }
    uint64_t call = s->call;
    s->call = 0;
    answer_with(r, call, &result);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct running *r = ctx;
    (void)what;
    for (int i = 0; i < PROCESS_STREAMS; i++) {
        if (r->streams[i].fd == fd) {
            fill(r, &r->streams[i]);
            serve(r, &r->streams[i]);
            return;
        }
    }
}

void running_read(struct running *r, uint64_t call, struct process_read what)
{
    struct stream *s = &r->streams[what.stream];
    if (s->call != 0) {
        answer_error(r, s->call, ERR_CANCELLED, "somebody else reads");
    }
    s->call = call;
    s->wanted = what.offset;
    serve(r, s);
}

void running_close_output(struct running *r)
{
    struct stream *s = &r->streams[PROCESS_STDOUT];
    close_stream(s);
    s->begin += s->kept.size;
    buffer_consume(&s->kept, s->kept.size);
    serve(r, s); /* that was its end */
}

/* ---- what it reads -------------------------------------------------------------------------- */

static void close_input(struct running *r)
{
    if (r->input >= 0) {
        event_free(r->writable);
        close(r->input);
        r->input = -1;
        buffer_close(&r->unwritten);
        fail_calls(r, &r->writes, ERR_IO, "the process does not read its input");
    }
}

static void push(struct running *r)
{
    while (r->unwritten.size > 0) {
        ssize_t put = write(r->input, r->unwritten.data, r->unwritten.size);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0 && errno == EAGAIN) {
            event_add(r->writable, NULL);
            return;
        }
        if (put < 0) {
            close_input(r);
            return;
        }
        buffer_consume(&r->unwritten, (size_t)put);
        r->written += (size_t)put;
        uint64_t call;
        while ((call = call_take(&r->writes, r->written)) != 0) {
            answer_error(r, call, ERR_OK, NULL);
        }
    }
    if (r->close_wanted) {
        close_input(r);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    push(ctx);
}

void running_write(struct running *r, uint64_t call, struct bytes data)
{
    if (r->input < 0 || r->close_wanted) {
        answer_error(r, call, ERR_IO, "the process has no input, or does not read it any more");
    } else if (data.size == 0) {
        answer_error(r, call, ERR_OK, NULL);
    } else {
        buffer_add_bytes(&r->unwritten, data);
        call_add(&r->writes, call, r->written + r->unwritten.size);
        push(r);
    }
}

void running_close_input(struct running *r)
{
    r->close_wanted = true;
    if (r->input >= 0) {
        push(r);
    }
}

/* ---- its end -------------------------------------------------------------------------------- */

static void answer_end(struct running *r, uint64_t call)
{
    struct buffer result = {0};
    write_i64(&result, WIFEXITED(r->status) ? WEXITSTATUS(r->status) : -WTERMSIG(r->status));
    answer_with(r, call, &result);
}

void running_wait(struct running *r, uint64_t call)
{
    if (r->ended) {
        answer_end(r, call);
    } else {
        call_add(&r->waits, call, 0);
    }
}

void running_signal(struct running *r, int number)
{
    if (!r->ended) {
        kill(-r->spawned.pid, number);
    }
}

static void forget(struct running *r)
{
    struct processes_registry *registry = &r->all->options.registry;
    if (r->spawned.has_slot) {
        processes_lease_remove(r->all, r->spawned.slot);
        registry->remove(registry->ctx, r->spawned.slot);
        r->spawned.has_slot = false;
    }
}

static void free_running(struct running *r)
{
    LIST_REMOVE(r, link);
    process_watch_free(r->watch);
    for (int i = 0; i < PROCESS_STREAMS; i++) {
        close_stream(&r->streams[i]);
        buffer_close(&r->streams[i].kept);
    }
    if (r->input >= 0) {
        event_free(r->writable);
        close(r->input);
    }
    buffer_close(&r->unwritten);
    while (call_take(&r->writes, UINT64_MAX) != 0 || call_take(&r->waits, UINT64_MAX) != 0) {
    }
    free(r);
}

/* It is gone. */
static void end_release(struct running *r)
{
    if (r->release_call != 0) {
        answer_error(r, r->release_call, ERR_OK, NULL);
    }
    free_running(r);
}

/* Kill what it leaves, while it is a zombie, for its id, which names its group, cannot be anybody
 * else's before it is reaped. If it was bound, all of it is gone after this, in whatever group it
 * was. The guardian knows of it until this is done. */
static void kill_left(struct running *r)
{
    enum { PATIENCE_MS = 2000 };
    const struct program program = {.tag = r->spawned.tag, .group = r->spawned.pid};
    const struct programs left = {.at = &program, .count = 1, .below = r->all->options.subreaper};
    kill(-r->spawned.pid, SIGKILL);
    enum err e = r->bound ? programs_kill(&left, PATIENCE_MS) : ERR_OK;
    if (e != ERR_OK) {
        log_warn(
            r->all->options.log,
            e == ERR_BUSY
                ? "a program has ended, and what it has started does not although it was killed"
                : "a program has ended, and what it has started may not have: it cannot be "
                  "looked for, because too many files are open",
            log_i64("process_group", r->spawned.pid), log_u64("waited_ms", PATIENCE_MS));
    }
}

static void on_death(void *ctx)
{
    struct running *r = ctx;
    kill_left(r);
    waitpid(r->spawned.pid, &r->status, 0);
    r->ended = true;
    forget(r);
    if (r->released) {
        end_release(r);
        return;
    }
    close_input(r);
    for (int i = 0; i < PROCESS_STREAMS; i++) {
        fill(r, &r->streams[i]);
        serve(r, &r->streams[i]);
    }
    uint64_t call;
    while ((call = call_take(&r->waits, UINT64_MAX)) != 0) {
        answer_end(r, call);
    }
}

void running_hold(struct running *r, uint64_t until_us)
{
    if (r->spawned.has_slot) {
        processes_hold(r->all, r->spawned.slot, until_us);
    }
}

void running_release(struct running *r, uint64_t call)
{
    r->release_call = call;
    fail_calls(r, &r->writes, ERR_CANCELLED, NULL);
    fail_calls(r, &r->waits, ERR_CANCELLED, NULL);
    for (int i = 0; i < PROCESS_STREAMS; i++) {
        if (r->streams[i].call != 0) {
            answer_error(r, r->streams[i].call, ERR_CANCELLED, NULL);
        }
        close_stream(&r->streams[i]);
    }
    if (r->ended) {
        end_release(r);
    } else {
        r->released = true;
        kill(-r->spawned.pid, SIGKILL);
    }
}

void running_end(struct running *r)
{
    if (!r->ended) {
        kill(-r->spawned.pid, SIGKILL);
        process_end(r->spawned.pid);
        kill_left(r);
        waitpid(r->spawned.pid, NULL, WNOHANG);
        forget(r);
    }
    free_running(r);
}

/* ---- its beginning -------------------------------------------------------------------------- */

struct running *running_find(struct processes *all, uint64_t id)
{
    struct running *r;
    LIST_FOREACH (r, &all->running, link) {
        if (r->id == id && !r->released) {
            return r;
        }
    }
    return NULL;
}

static struct event *new_event(struct running *r, int fd, short what, event_callback_fn cb)
{
    struct event *event = event_new(loop_base(r->all->loop), fd, what, cb, r);
    ASSERT(event != NULL);
    return event;
}

static struct running *new_running(struct processes *all, uint64_t id,
                                   const struct process_spec *spec, const struct spawned *spawned)
{
    struct running *r = NEW(struct running);
    *r = (struct running){.all = all,
                          .id = id,
                          .spawned = *spawned,
                          .input = spawned->input,
                          .bound = spec->token != 0 || spec->hold_until_us != 0};
    STAILQ_INIT(&r->writes);
    STAILQ_INIT(&r->waits);
    LIST_INSERT_HEAD(&all->running, r, link);
    if (r->input >= 0) {
        r->writable = new_event(r, r->input, EV_WRITE, on_writable);
    }
    for (int i = 0; i < PROCESS_STREAMS; i++) {
        struct stream *s = &r->streams[i];
        s->fd = spawned->output[i];
        if (s->fd >= 0) {
            s->readable = new_event(r, s->fd, EV_READ, on_readable);
            event_add(s->readable, NULL);
        }
    }
    r->watch = process_watch_new(all->loop, spawned->pid, on_death, r);
    return r;
}

void running_start(struct processes *all, uint64_t call, uint64_t id,
                   const struct process_spec *spec)
{
    struct spawned spawned;
    struct why why = {""};
    enum err e = spawn(spec, &all->options.registry, &spawned, &why);
    if (e != ERR_OK) {
        processes_answer(all, call, e, why.text, (struct slice){0});
        return;
    }
    struct running *r = new_running(all, id, spec, &spawned);
    if (spawned.has_slot) {
        processes_lease_add(all, spec, spawned.slot);
    }
    if (r->watch == NULL) { /* no descriptor was left for it */
        running_end(r);
        processes_answer(all, call, ERR_IO, "cannot watch the process: too many open files",
                         (struct slice){0});
        return;
    }
    struct buffer result = {0};
    write_u64(&result, (uint64_t)spawned.pid);
    answer_with(r, call, &result);
}
