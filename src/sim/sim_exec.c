#include "sim/sim_exec.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "script/script.h"
#include "sim/sim_process_internal.h"
#include "sim/sim_programs.h"
#include "wire/writer.h"

/* From the call to the first instruction of the program. */
enum { BIRTH_US_MIN = 200, BIRTH_US_MAX = 3000 };
/* From its release to its end, and that of all that it has started. */
enum { RELEASE_US_MIN = 100, RELEASE_US_MAX = 20000 };
#define NEVER UINT64_MAX

struct waiter {
    uint64_t call;
    STAILQ_ENTRY(waiter) link;
};

struct child {
    struct sim_exec *exec;
    uint64_t id;
    char **argv; /* until it is born */
    uint64_t start_call;
    struct sim_program program; /* its texts are in texts */
    bool read[PROCESS_STREAMS];
    uint64_t token;
    /* On the host's clock; NEVER: none. The earlier one of the two that follow. */
    uint64_t deadline_us;
    uint64_t lease_until_us; /* of its leadership */
    uint64_t hold_until_us;  /* 0: it is not held under anything */
    enum child_state { CHILD_UNBORN, CHILD_RUNS, CHILD_ENDED } state;
    uint64_t run;    /* in sim_programs */
    uint64_t end_us; /* true time; NEVER: not by itself */
    int status;      /* with which it ends then, or has ended */
    struct slice texts[PROCESS_STREAMS];
    uint64_t read_call[PROCESS_STREAMS], wanted[PROCESS_STREAMS];
    STAILQ_HEAD(, waiter) waiters;
    bool released;         /* to be forgotten once it has ended, */
    uint64_t release_call; /* which this call waits for; 0: none */
    LIST_ENTRY(child) link;
};

struct sim_exec {
    struct sim_process *process;
    uint64_t incarnation;
    struct script_host *host;
    struct rng rng;
    struct process_port port;
    LIST_HEAD(, child) children;
};

/* ---- finding, answering
 * -------------------------------------------------------------------------- */

static struct world *world_of(const struct sim_exec *exec)
{
    return exec->process->world;
}

/* A number of the world's calls: of this child, and of no child of another incarnation. */
static uint64_t key_of(const struct child *c)
{
    return c->exec->incarnation << 32 | (c->id & UINT32_MAX);
}

static struct child *find(struct sim_exec *exec, uint64_t id)
{
    struct child *c;
    LIST_FOREACH (c, &exec->children, link) {
        if (c->id == id) {
            return c;
        }
    }
    return NULL;
}

static struct child *find_by_key(struct sim_process *p, uint64_t key)
{
    struct sim_exec *exec = sim_scripts_exec(p->scripts);
    return exec != NULL && exec->incarnation == key >> 32 ? find(exec, key & UINT32_MAX) : NULL;
}

static void answer(struct sim_exec *exec, uint64_t call, enum err err, const char *message,
                   struct buffer *result)
{
    script_host_reply(exec->host, call, err, message, slice_copy(buffer_bytes(result)));
    buffer_close(result);
}

static void answer_error(struct sim_exec *exec, uint64_t call, enum err err, const char *message)
{
    answer(exec, call, err, message, &(struct buffer){0});
}

/* ---- a life
 * -------------------------------------------------------------------------------------- */

static void serve_reader(struct child *c, enum process_stream stream)
{
    uint64_t call = c->read_call[stream], from = c->wanted[stream];
    size_t size = c->read[stream] ? c->texts[stream].size : 0;
    if (call == 0 || (from >= size && c->read[stream] && c->state != CHILD_ENDED)) {
        return;
    }
    c->read_call[stream] = 0;
    struct buffer result = {0};
    if (from < size) {
        size_t left = size - (size_t)from;
        write_bin(&result, bytes_of(c->texts[stream].data + from,
                                    left < PROCESS_UNREAD_MAX ? left : PROCESS_UNREAD_MAX));
    } else {
        write_nil(&result);
    }
    answer(c->exec, call, ERR_OK, NULL, &result);
}

static void answer_end(struct child *c, uint64_t call)
{
    struct buffer result = {0};
    write_i64(&result, c->status);
    answer(c->exec, call, ERR_OK, NULL, &result);
}

static uint64_t take_waiter(struct child *c)
{
    struct waiter *w = STAILQ_FIRST(&c->waiters);
    if (w == NULL) {
        return 0;
    }
    uint64_t call = w->call;
    STAILQ_REMOVE_HEAD(&c->waiters, link);
    free(w);
    return call;
}

static void child_free(struct child *c)
{
    for (size_t i = 0; c->argv[i] != NULL; i++) {
        free(c->argv[i]);
    }
    free(c->argv);
    while (take_waiter(c) != 0) {
    }
    for (int i = 0; i < PROCESS_STREAMS; i++) {
        slice_close(&c->texts[i]);
    }
    free(c);
}

/* It is gone. */
static void end_release(struct child *c)
{
    if (c->release_call != 0) {
        answer_error(c->exec, c->release_call, ERR_OK, NULL);
    }
    LIST_REMOVE(c, link);
    child_free(c);
}

static void end(struct child *c, int status)
{
    struct sim_exec *exec = c->exec;
    c->state = CHILD_ENDED;
    c->status = status;
    sim_programs_end(exec->process->options.programs, c->run, status, world_now_us(world_of(exec)));
    world_mix(world_of(exec), UINT64_C(0x600) | exec->process->options.host, (uint64_t)status);
}

/* It ends now; whoever waits is told, if there still is anybody. c may be gone then. */
static void end_and_tell(struct child *c, int status)
{
    end(c, status);
    for (int i = 0; i < PROCESS_STREAMS; i++) {
        serve_reader(c, (enum process_stream)i);
    }
    uint64_t call;
    while ((call = take_waiter(c)) != 0) {
        answer_end(c, call);
    }
    if (c->released) {
        end_release(c);
    }
}

static void on_end(void *ctx, uint64_t key)
{
    struct child *c = find_by_key(ctx, key);
    if (c != NULL && c->state == CHILD_RUNS && world_now_us(world_of(c->exec)) >= c->end_us) {
        end_and_tell(c, c->status);
    }
}

static void end_at(struct child *c, uint64_t end_us, int status)
{
    c->end_us = end_us;
    c->status = status;
    world_at(world_of(c->exec), end_us, on_end, c->exec->process, key_of(c));
}

static bool is_overdue(const struct child *c)
{
    return c->deadline_us != NEVER && sim_clock_now_us(&c->exec->process->clock) >= c->deadline_us;
}

static void on_deadline(void *ctx, uint64_t key);

/* The guardian looks when the deadline has come, if nobody has moved it by then. */
static void watch_deadline(struct child *c)
{
    if (c->deadline_us != NEVER) {
        uint64_t at_us = sim_clock_true_us(&c->exec->process->clock, c->deadline_us);
        uint64_t now_us = world_now_us(world_of(c->exec));
        world_at(world_of(c->exec), at_us > now_us ? at_us : now_us + 1, on_deadline,
                 c->exec->process, key_of(c));
    }
}

static void on_deadline(void *ctx, uint64_t key)
{
    struct child *c = find_by_key(ctx, key);
    if (c == NULL || c->state != CHILD_RUNS) {
        return;
    }
    if (is_overdue(c)) {
        end_and_tell(c, -SIGKILL);
    } else {
        watch_deadline(c);
    }
}

static void on_birth(void *ctx, uint64_t key)
{
    struct child *c = find_by_key(ctx, key);
    if (c == NULL || c->state != CHILD_UNBORN) {
        return;
    }
    struct sim_exec *exec = c->exec;
    struct sim_process *p = exec->process;
    if (is_overdue(c)) {
        c->state = CHILD_ENDED;
        bool leased = world_now_us(p->world) < c->lease_until_us;
        answer_error(exec, c->start_call, leased ? ERR_FENCED : ERR_NOT_LEADER,
                     leased ? "the lock that it is to run under is lost" : "the lease is over");
        return;
    }
    uint64_t now_us = world_now_us(p->world);
    c->state = CHILD_RUNS;
    c->run = sim_programs_begin(p->options.programs, p->options.host, (const char *const *)c->argv,
                                c->token, now_us);
    world_mix(p->world, UINT64_C(0x500) | p->options.host, c->run);
    c->end_us = NEVER;
    if (!c->program.for_ever) {
        end_at(c, now_us + sim_span_draw(c->program.run, &exec->rng), c->program.code);
    }
    watch_deadline(c);
    struct buffer result = {0};
    write_u64(&result, sim_programs_run(p->options.programs, c->run)->number);
    answer(exec, c->start_call, ERR_OK, NULL, &result);
    for (int i = 0; i < PROCESS_STREAMS; i++) {
        serve_reader(c, (enum process_stream)i);
    }
}

/* ---- the port
 * ------------------------------------------------------------------------------------ */

static char **copy_argv(const char *const *argv)
{
    size_t count = 0;
    while (argv[count] != NULL) {
        count++;
    }
    char **copy = alloc_zeroed(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        copy[i] = alloc_string(argv[i]);
    }
    return copy;
}

static void start(void *ctx, uint64_t call, uint64_t id, const struct process_spec *spec)
{
    struct sim_exec *exec = ctx;
    struct sim_process *p = exec->process;
    const struct sim_program *program =
        sim_programs_find(p->options.programs, p->options.host, spec->argv[0]);
    if (program == NULL) {
        struct why why;
        err_why(&why, ERR_NOT_FOUND,
                "cannot run %s: the scenario has no such program (c:program(\"%s\", { ... }))",
                spec->argv[0], spec->argv[0]);
        answer_error(exec, call, ERR_NOT_FOUND, why.text);
        return;
    }
    struct child *c = NEW(struct child);
    *c = (struct child){.exec = exec,
                        .id = id,
                        .argv = copy_argv(spec->argv),
                        .start_call = call,
                        .program = *program,
                        .token = spec->token,
                        .deadline_us =
                            process_deadline_us(spec->lease_until_us, spec->hold_until_us),
                        .lease_until_us = spec->lease_until_us,
                        .hold_until_us = spec->hold_until_us};
    memcpy(c->read, spec->read, sizeof c->read);
    c->texts[PROCESS_STDOUT] = slice_copy(program->output);
    c->texts[PROCESS_STDERR] = slice_copy(program->errors);
    STAILQ_INIT(&c->waiters);
    LIST_INSERT_HEAD(&exec->children, c, link);
    world_after(p->world, rng_range(&exec->rng, BIRTH_US_MIN, BIRTH_US_MAX), on_birth, p,
                key_of(c));
}

static struct child *find_or_answer(struct sim_exec *exec, uint64_t call, uint64_t id)
{
    struct child *c = find(exec, id);
    if (c == NULL) {
        answer_error(exec, call, ERR_NOT_FOUND, "there is no such process");
    }
    return c;
}

static void port_read(void *ctx, uint64_t call, uint64_t id, struct process_read what)
{
    struct child *c = find_or_answer(ctx, call, id);
    if (c == NULL) {
        return;
    }
    if (c->read_call[what.stream] != 0) {
        answer_error(ctx, c->read_call[what.stream], ERR_CANCELLED, "somebody else reads");
    }
    c->read_call[what.stream] = call;
    c->wanted[what.stream] = what.offset;
    serve_reader(c, what.stream);
}

static void port_write(void *ctx, uint64_t call, uint64_t id, struct bytes data)
{
    struct child *c = find_or_answer(ctx, call, id);
    (void)data;
    if (c != NULL && c->state == CHILD_ENDED) {
        answer_error(ctx, call, ERR_IO, "the process does not read its input");
    } else if (c != NULL) {
        answer_error(ctx, call, ERR_OK, NULL);
    }
}

static void port_wait(void *ctx, uint64_t call, uint64_t id)
{
    struct child *c = find_or_answer(ctx, call, id);
    if (c != NULL && c->state == CHILD_ENDED) {
        answer_end(c, call);
    } else if (c != NULL) {
        struct waiter *w = NEW(struct waiter);
        w->call = call;
        STAILQ_INSERT_TAIL(&c->waiters, w, link);
    }
}

static void port_close_input(void *ctx, uint64_t id)
{
    (void)ctx, (void)id;
}

/* What it writes it has written as it began. */
static void port_close_output(void *ctx, uint64_t id)
{
    (void)ctx, (void)id;
}

static void port_signal(void *ctx, uint64_t id, int number)
{
    struct child *c = find(ctx, id);
    if (c == NULL || c->state != CHILD_RUNS) {
        return;
    }
    uint64_t now_us = world_now_us(world_of(c->exec));
    if (number == SIGKILL || c->program.stopping == SIM_STOP_DIES) {
        end_at(c, now_us, -number);
    } else if (c->program.stopping == SIM_STOP_EXITS && now_us + c->program.stop_us < c->end_us) {
        end_at(c, now_us + c->program.stop_us, 0);
    }
}

static void port_release(void *ctx, uint64_t call, uint64_t id)
{
    struct sim_exec *exec = ctx;
    struct child *c = find(exec, id);
    if (c == NULL) {
        if (call != 0) {
            answer_error(exec, call, ERR_NOT_FOUND, "there is no such process");
        }
        return;
    }
    for (int i = 0; i < PROCESS_STREAMS; i++) {
        if (c->read_call[i] != 0) {
            answer_error(exec, c->read_call[i], ERR_CANCELLED, NULL);
            c->read_call[i] = 0;
        }
    }
    uint64_t waiting;
    while ((waiting = take_waiter(c)) != 0) {
        answer_error(exec, waiting, ERR_CANCELLED, NULL);
    }
    c->released = true;
    c->release_call = call;
    if (c->state != CHILD_RUNS) {
        end_release(c);
        return;
    }
    uint64_t end_us =
        world_now_us(world_of(exec)) + rng_range(&exec->rng, RELEASE_US_MIN, RELEASE_US_MAX);
    if (end_us < c->end_us) {
        end_at(c, end_us, -SIGKILL);
    }
}

static void move_deadline(struct child *c)
{
    uint64_t until_us = process_deadline_us(c->lease_until_us, c->hold_until_us);
    bool sooner = until_us < c->deadline_us;
    c->deadline_us = until_us;
    if (sooner && c->state == CHILD_RUNS) {
        watch_deadline(c);
    }
}

static void port_lease(void *ctx, uint64_t token, uint64_t until_us)
{
    struct sim_exec *exec = ctx;
    struct child *c;
    LIST_FOREACH (c, &exec->children, link) {
        if (c->token == token) {
            c->lease_until_us = until_us;
            move_deadline(c);
        }
    }
}

static void port_hold(void *ctx, uint64_t id, uint64_t until_us)
{
    struct child *c = find(ctx, id);
    if (c != NULL && c->hold_until_us != 0) {
        c->hold_until_us = until_us;
        move_deadline(c);
    }
}

/* ---- life of them all
 * ---------------------------------------------------------------------------- */

struct sim_exec *sim_exec_new(struct sim_process *p, uint64_t seed)
{
    struct sim_exec *exec = NEW(struct sim_exec);
    exec->process = p;
    exec->incarnation = p->incarnations;
    rng_seed(&exec->rng, seed);
    LIST_INIT(&exec->children);
    exec->port = (struct process_port){.ctx = exec,
                                       .start = start,
                                       .read = port_read,
                                       .write = port_write,
                                       .wait = port_wait,
                                       .close_input = port_close_input,
                                       .close_output = port_close_output,
                                       .signal = port_signal,
                                       .hold = port_hold,
                                       .release = port_release,
                                       .lease = port_lease};
    return exec;
}

void sim_exec_answer_to(struct sim_exec *exec, struct script_host *host)
{
    exec->host = host;
}

const struct process_port *sim_exec_port(const struct sim_exec *exec)
{
    return &exec->port;
}

void sim_exec_kill_all(struct sim_exec *exec)
{
    struct child *c;
    LIST_FOREACH (c, &exec->children, link) {
        if (c->state == CHILD_RUNS) {
            end(c, -SIGKILL);
        }
        c->state = CHILD_ENDED;
    }
}

void sim_exec_free(struct sim_exec *exec)
{
    for (struct child *c = LIST_FIRST(&exec->children), *next; c != NULL; c = next) {
        next = LIST_NEXT(c, link);
        child_free(c);
    }
    free(exec);
}

void sim_exec_clock_changed(struct sim_exec *exec)
{
    struct child *c;
    LIST_FOREACH (c, &exec->children, link) {
        if (c->state == CHILD_RUNS) {
            watch_deadline(c);
        }
    }
}
