#include "net/processes.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/processes_internal.h"

/* ---- commands ------------------------------------------------------------------------------- */

enum command_kind {
    COMMAND_START,
    COMMAND_READ,
    COMMAND_WRITE,
    COMMAND_WAIT,
    COMMAND_CLOSE_INPUT,
    COMMAND_CLOSE_OUTPUT,
    COMMAND_SIGNAL,
    COMMAND_HOLD,
    COMMAND_RELEASE,
};

struct command {
    enum command_kind kind;
    uint64_t call; /* 0: no answer */
    uint64_t process;
    struct process_spec spec; /* START; its strings are the command's */
    struct process_read read;
    struct buffer data;
    int signal;
    uint64_t until_us; /* HOLD */
    STAILQ_ENTRY(command) link;
};

static void free_strings(const char *const *strings)
{
    for (size_t i = 0; strings != NULL && strings[i] != NULL; i++) {
        free((void *)(uintptr_t)strings[i]);
    }
    free((void *)(uintptr_t)strings);
}

static const char *const *copy_strings(const char *const *strings)
{
    size_t count = 0;
    while (strings[count] != NULL) {
        count++;
    }
    const char **copy = alloc_zeroed(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        copy[i] = alloc_string(strings[i]);
    }
    return copy;
}

static void command_free(struct command *c)
{
    free_strings(c->spec.argv);
    free_strings(c->spec.env);
    free((void *)(uintptr_t)c->spec.cwd);
    buffer_close(&c->data);
    free(c);
}

static void command(void *ctx, struct command command)
{
    struct processes *all = ctx;
    struct command *c = NEW(struct command);
    *c = command;
    pthread_mutex_lock(&all->lock);
    STAILQ_INSERT_TAIL(&all->commands, c, link);
    pthread_mutex_unlock(&all->lock);
    loop_wake(all->loop);
}

static void port_start(void *ctx, uint64_t call, uint64_t process, const struct process_spec *spec)
{
    struct process_spec copy = *spec;
    copy.argv = copy_strings(spec->argv);
    copy.env = copy_strings(spec->env);
    copy.cwd = spec->cwd != NULL ? alloc_string(spec->cwd) : NULL;
    command(ctx, (struct command){
                     .kind = COMMAND_START, .call = call, .process = process, .spec = copy});
}

static void port_read(void *ctx, uint64_t call, uint64_t process, struct process_read what)
{
    command(ctx,
            (struct command){.kind = COMMAND_READ, .call = call, .process = process, .read = what});
}

static void port_write(void *ctx, uint64_t call, uint64_t process, struct bytes data)
{
    struct command c = {.kind = COMMAND_WRITE, .call = call, .process = process};
    buffer_add_bytes(&c.data, data);
    command(ctx, c);
}

static void port_wait(void *ctx, uint64_t call, uint64_t process)
{
    command(ctx, (struct command){.kind = COMMAND_WAIT, .call = call, .process = process});
}

static void port_close_input(void *ctx, uint64_t process)
{
    command(ctx, (struct command){.kind = COMMAND_CLOSE_INPUT, .process = process});
}

static void port_close_output(void *ctx, uint64_t process)
{
    command(ctx, (struct command){.kind = COMMAND_CLOSE_OUTPUT, .process = process});
}

static void port_signal(void *ctx, uint64_t process, int number)
{
    command(ctx, (struct command){.kind = COMMAND_SIGNAL, .process = process, .signal = number});
}

static void port_hold(void *ctx, uint64_t process, uint64_t until_us)
{
    command(ctx, (struct command){.kind = COMMAND_HOLD, .process = process, .until_us = until_us});
}

static void port_release(void *ctx, uint64_t call, uint64_t process)
{
    command(ctx, (struct command){.kind = COMMAND_RELEASE, .call = call, .process = process});
}

static void carry_out(struct processes *all, struct command *c)
{
    if (c->kind == COMMAND_START) {
        running_start(all, c->call, c->process, &c->spec);
        return;
    }
    struct running *r = running_find(all, c->process);
    if (r == NULL) {
        if (c->call != 0) {
            processes_answer(all, c->call, ERR_NOT_FOUND, "there is no such process",
                             (struct slice){0});
        }
        return;
    }
    switch (c->kind) {
    case COMMAND_START:
        break;
    case COMMAND_READ:
        running_read(r, c->call, c->read);
        break;
    case COMMAND_WRITE:
        running_write(r, c->call, buffer_bytes(&c->data));
        break;
    case COMMAND_WAIT:
        running_wait(r, c->call);
        break;
    case COMMAND_CLOSE_INPUT:
        running_close_input(r);
        break;
    case COMMAND_CLOSE_OUTPUT:
        running_close_output(r);
        break;
    case COMMAND_SIGNAL:
        running_signal(r, c->signal);
        break;
    case COMMAND_HOLD:
        running_hold(r, c->until_us);
        break;
    case COMMAND_RELEASE:
        running_release(r, c->call);
        break;
    }
}

static void on_wake(void *ctx)
{
    struct processes *all = ctx;
    struct commands due = STAILQ_HEAD_INITIALIZER(due);
    pthread_mutex_lock(&all->lock);
    STAILQ_CONCAT(&due, &all->commands);
    pthread_mutex_unlock(&all->lock);
    struct command *c;
    while ((c = STAILQ_FIRST(&due)) != NULL) {
        STAILQ_REMOVE_HEAD(&due, link);
        carry_out(all, c);
        command_free(c);
    }
}

void processes_answer(struct processes *all, uint64_t call, enum err err, const char *message,
                      struct slice result_take)
{
    all->options.answer(all->options.ctx, call, err, message, result_take);
}

/* ---- leases --------------------------------------------------------------------------------- */

/* Under the lock. */
static void set_deadline(struct processes *all, const struct leased *l)
{
    uint64_t until_us = process_deadline_us(l->lease_until_us, l->hold_until_us);
    all->options.registry.set_deadline(all->options.registry.ctx, l->slot, until_us);
}

void processes_lease_add(struct processes *all, const struct process_spec *spec, uint32_t slot)
{
    if (spec->token == 0 && spec->hold_until_us == 0) {
        return;
    }
    pthread_mutex_lock(&all->lock);
    struct leased *l = all->leased; /* there are no more slots than places here */
    while (l->used) {
        l++;
        ASSERT(l < all->leased + GUARDIAN_CHILDREN_MAX);
    }
    *l = (struct leased){.used = true,
                         .slot = slot,
                         .token = spec->token,
                         .lease_until_us = spec->lease_until_us,
                         .hold_until_us = spec->hold_until_us};
    /* It may have been extended while the process was being born. */
    if (spec->token != 0 && all->token == spec->token &&
        all->lease_until_us > spec->lease_until_us) {
        l->lease_until_us = all->lease_until_us;
        set_deadline(all, l);
    }
    pthread_mutex_unlock(&all->lock);
}

void processes_hold(struct processes *all, uint32_t slot, uint64_t until_us)
{
    pthread_mutex_lock(&all->lock);
    for (size_t i = 0; i < GUARDIAN_CHILDREN_MAX; i++) {
        struct leased *l = &all->leased[i];
        if (l->used && l->slot == slot && l->hold_until_us != 0) {
            l->hold_until_us = until_us;
            set_deadline(all, l);
        }
    }
    pthread_mutex_unlock(&all->lock);
}

void processes_lease_remove(struct processes *all, uint32_t slot)
{
    pthread_mutex_lock(&all->lock);
    for (size_t i = 0; i < GUARDIAN_CHILDREN_MAX; i++) {
        if (all->leased[i].used && all->leased[i].slot == slot) {
            all->leased[i].used = false;
        }
    }
    pthread_mutex_unlock(&all->lock);
}

static void port_lease(void *ctx, uint64_t token, uint64_t until_us)
{
    struct processes *all = ctx;
    pthread_mutex_lock(&all->lock);
    all->token = token;
    all->lease_until_us = until_us;
    for (size_t i = 0; i < GUARDIAN_CHILDREN_MAX; i++) {
        struct leased *l = &all->leased[i];
        if (l->used && l->token == token) {
            l->lease_until_us = until_us;
            set_deadline(all, l);
        }
    }
    pthread_mutex_unlock(&all->lock);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void *run(void *ctx)
{
    struct processes *all = ctx;
    loop_run(all->loop);
    return NULL;
}

enum err processes_open(const struct processes_options *options, struct processes **out,
                        struct why *why)
{
    struct processes *all = NEW(struct processes);
    all->options = *options;
    all->port = (struct process_port){.ctx = all,
                                      .start = port_start,
                                      .read = port_read,
                                      .write = port_write,
                                      .wait = port_wait,
                                      .close_input = port_close_input,
                                      .close_output = port_close_output,
                                      .signal = port_signal,
                                      .hold = port_hold,
                                      .release = port_release,
                                      .lease = port_lease};
    all->loop = loop_new();
    LIST_INIT(&all->running);
    STAILQ_INIT(&all->commands);
    pthread_mutex_init(&all->lock, NULL);
    loop_on_wake(all->loop, on_wake, all);
    /* The thread, and what it starts, handle no signals of this process. */
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    int failed = pthread_create(&all->thread, NULL, run, all);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        loop_free(all->loop);
        pthread_mutex_destroy(&all->lock);
        free(all);
        return err_why(why, ERR_IO, "cannot start the thread for processes: %s", strerror(failed));
    }
    pthread_setname_np(all->thread, "processes");
    *out = all;
    return ERR_OK;
}

void processes_stop(struct processes *all)
{
    if (all == NULL || all->stopped) {
        return;
    }
    all->stopped = true;
    loop_stop(all->loop);
    pthread_join(all->thread, NULL);
    struct running *r;
    while ((r = LIST_FIRST(&all->running)) != NULL) {
        running_end(r);
    }
}

void processes_close(struct processes *all)
{
    if (all == NULL) {
        return;
    }
    processes_stop(all);
    struct command *c;
    while ((c = STAILQ_FIRST(&all->commands)) != NULL) {
        STAILQ_REMOVE_HEAD(&all->commands, link);
        command_free(c);
    }
    loop_free(all->loop);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

const struct process_port *processes_port(const struct processes *all)
{
    return &all->port;
}
