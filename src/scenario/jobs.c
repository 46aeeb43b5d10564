#include "scenario/jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/loop.h"

enum { CHUNK_BYTES = 1 << 16, ERRORS_BYTES_MAX = 64 << 10, LOOK_MS = 200 };

struct job {
    pid_t pid; /* 0: this slot is free */
    uint64_t number;
    uint64_t began_us;
    bool late;
    int pipes[2]; /* our ends: result, errors; -1: at its end */
    struct buffer said[2];
};

struct jobs {
    const struct jobs_options *options;
    struct clock_port clock;
    struct job *slots;
    uint64_t begun;
    uint32_t running;
    bool stopping;
};

uint32_t jobs_processors(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : count > JOBS_MAX ? JOBS_MAX : (uint32_t)count;
}

bool jobs_write(int pipe_end, struct bytes data)
{
    while (data.size > 0) {
        ssize_t written = write(pipe_end, data.data, data.size);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        if (written > 0) {
            data = bytes_of(data.data + written, data.size - (size_t)written);
        }
    }
    return true;
}

/* ---- one child ------------------------------------------------------------------------------- */

static void child(const struct jobs *j, uint64_t number, pid_t parent, int result, int errors)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1); /* it died before we could ask to die with it */
    }
    dup2(errors, STDERR_FILENO);
    close(errors);
    int code = j->options->work(j->options->ctx, number, result);
    fflush(NULL);
    _exit(code);
}

static enum err begin(struct jobs *j, struct job *slot, struct why *why)
{
    int result[2], errors[2];
    if (pipe2(result, O_CLOEXEC) != 0) {
        return err_why(why, ERR_IO, "pipe: %s", strerror(errno));
    }
    if (pipe2(errors, O_CLOEXEC) != 0) {
        close(result[0]);
        close(result[1]);
        return err_why(why, ERR_IO, "pipe: %s", strerror(errno));
    }
    fflush(NULL); /* or both would write what is buffered */
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        child(j, j->begun, parent, result[1], errors[1]);
    }
    close(result[1]);
    close(errors[1]);
    if (pid < 0) {
        close(result[0]);
        close(errors[0]);
        return err_why(why, ERR_IO, "fork: %s", strerror(errno));
    }
    *slot = (struct job){.pid = pid,
                         .number = j->begun++,
                         .began_us = clock_now_us(&j->clock),
                         .pipes = {result[0], errors[0]}};
    j->running++;
    return ERR_OK;
}

static void finish(struct jobs *j, struct job *slot)
{
    int status = 0;
    while (waitpid(slot->pid, &status, 0) < 0 && errno == EINTR) {
    }
    const struct jobs_end end = {
        .number = slot->number,
        .result = buffer_bytes(&slot->said[0]),
        .errors = buffer_bytes(&slot->said[1]),
        .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
        .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .late = slot->late,
        .took_us = clock_now_us(&j->clock) - slot->began_us,
    };
    j->stopping |= !j->options->ended(j->options->ctx, &end);
    buffer_close(&slot->said[0]);
    buffer_close(&slot->said[1]);
    slot->pid = 0;
    j->running--;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Take what there is. At its end the pipe is closed. */
static void take(struct job *slot, int which)
{
    struct buffer *said = &slot->said[which];
    ssize_t got = read(slot->pipes[which], buffer_reserve(said, CHUNK_BYTES), CHUNK_BYTES);
    if (got > 0) {
        said->size += (size_t)got;
        if (which == 1 && said->size > ERRORS_BYTES_MAX) {
            buffer_consume(said, said->size - ERRORS_BYTES_MAX);
        }
    } else if (got == 0 || errno != EINTR) {
        close(slot->pipes[which]);
        slot->pipes[which] = -1;
    }
}

static void kill_late(struct jobs *j)
{
    uint64_t now_us = clock_now_us(&j->clock);
    for (uint32_t i = 0; i < j->options->jobs; i++) {
        struct job *slot = &j->slots[i];
        if (j->options->limit_ms > 0 && slot->pid != 0 && !slot->late &&
            now_us - slot->began_us > j->options->limit_ms * 1000) {
            slot->late = true;
            kill(slot->pid, SIGKILL);
        }
    }
}

/* Wait for something to be said, and take it. A job has ended when nobody holds its pipe of results
 * any more; what is left in the other one is taken then. */
static void listen_to_all(struct jobs *j)
{
    struct pollfd polls[JOBS_MAX * 2];
    struct job *whose[JOBS_MAX * 2];
    nfds_t count = 0;
    for (uint32_t i = 0; i < j->options->jobs; i++) {
        for (int which = 0; which < 2 && j->slots[i].pid != 0; which++) {
            if (j->slots[i].pipes[which] >= 0) {
                whose[count] = &j->slots[i];
                polls[count++] = (struct pollfd){.fd = j->slots[i].pipes[which], .events = POLLIN};
            }
        }
    }
    poll(polls, count, LOOK_MS);
    for (nfds_t i = 0; i < count; i++) {
        if (polls[i].revents != 0) {
            take(whose[i], polls[i].fd == whose[i]->pipes[0] ? 0 : 1);
        }
    }
    kill_late(j);
    for (uint32_t i = 0; i < j->options->jobs; i++) {
        struct job *slot = &j->slots[i];
        if (slot->pid == 0 || slot->pipes[0] >= 0) {
            continue;
        }
        if (slot->pipes[1] >= 0) {
            fcntl(slot->pipes[1], F_SETFL, O_NONBLOCK);
            take(slot, 1);
            if (slot->pipes[1] >= 0) {
                close(slot->pipes[1]);
            }
        }
        finish(j, slot);
    }
}

static enum err fill_slots(struct jobs *j, struct why *why)
{
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < j->options->jobs && err == ERR_OK; i++) {
        if (j->slots[i].pid == 0 && j->begun < j->options->count && !j->stopping) {
            err = begin(j, &j->slots[i], why);
        }
    }
    return err;
}

enum err jobs_run(const struct jobs_options *options, struct why *why)
{
    struct jobs j = {.options = options, .clock = loop_clock()};
    j.slots = alloc_zeroed(options->jobs, sizeof *j.slots);
    enum err err = ERR_OK;
    do {
        if (err == ERR_OK) {
            err = fill_slots(&j, why);
        }
        if (j.running > 0) {
            listen_to_all(&j);
        }
    } while (j.running > 0 || (err == ERR_OK && !j.stopping && j.begun < options->count));
    free(j.slots);
    return err;
}
