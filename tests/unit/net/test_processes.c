/* What is told of programs, and when. Real processes, no script host. */
#include "net/processes.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "wire/reader.h"

enum { START = 1, READ, RELEASE, UNKNOWN, LEASE_OVER, LOCK_LOST, CALLS };
enum { PROGRAM = 7, STRAYS = 20, ANSWER_S = 30 };

/* Each stray has a session of its own, and tells its number. */
#define STRAY "setsid sh -c 'echo $$; exec sleep 100' & "
#define BODY  "trap '' TERM; i=0; while [ $i -lt 20 ]; do " STRAY "i=$((i+1)); done; wait; sleep 100"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool answered[CALLS];
    enum err err[CALLS];
    struct slice result[CALLS];
    long strays[STRAYS];
    unsigned strays_count;
    unsigned alive_at_release;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* A zombie that somebody else is to reap does not. */
static bool is_running(long pid)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) {
            state = 'Z';
        }
        fclose(file);
    }
    return state != 'Z';
}

static void on_answer(void *ctx, uint64_t call, enum err err, const char *message,
                      struct slice result_take)
{
    (void)ctx, (void)message;
    pthread_mutex_lock(&seen.lock);
    if (call == RELEASE) {
        for (unsigned i = 0; i < seen.strays_count; i++) {
            seen.alive_at_release += is_running(seen.strays[i]);
        }
    }
    seen.answered[call] = true;
    seen.err[call] = err;
    slice_close(&seen.result[call]);
    seen.result[call] = result_take;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static enum err await(uint64_t call)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += ANSWER_S;
    pthread_mutex_lock(&seen.lock);
    while (!seen.answered[call]) {
        if (pthread_cond_timedwait(&seen.changed, &seen.lock, &limit) != 0) {
            fail_msg("call %d was not answered", (int)call);
        }
    }
    seen.answered[call] = false;
    enum err err = seen.err[call];
    pthread_mutex_unlock(&seen.lock);
    return err;
}

/* The numbers of all strays, from the program's output. */
static void read_strays(const struct process_port *port)
{
    struct buffer text = {0};
    unsigned lines = 0;
    while (lines < STRAYS) {
        port->read(port->ctx, READ, PROGRAM, (struct process_read){PROCESS_STDOUT, text.size});
        assert_int_equal(await(READ), ERR_OK);
        struct reader reader = reader_of(slice_bytes(seen.result[READ]));
        struct bytes data = read_bin(&reader, PROCESS_UNREAD_MAX);
        assert_true(data.size > 0);
        for (size_t i = 0; i < data.size; i++) {
            lines += data.data[i] == '\n';
        }
        buffer_add_bytes(&text, data);
    }
    char *at = (char *)(uintptr_t)buffer_text(&text);
    pthread_mutex_lock(&seen.lock);
    for (seen.strays_count = 0; seen.strays_count < STRAYS; seen.strays_count++) {
        seen.strays[seen.strays_count] = strtol(at, &at, 10);
    }
    pthread_mutex_unlock(&seen.lock);
    buffer_close(&text);
}

static void a_release_is_answered_when_all_that_a_bound_program_has_started_is_gone(void **state)
{
    (void)state;
    struct processes *all;
    const struct processes_options options = {.answer = on_answer};
    assert_int_equal(processes_open(&options, &all, NULL), ERR_OK);
    const struct process_port *port = processes_port(all);
    const char *const argv[] = {"sh", "-c", BODY, NULL}, *const env[] = {NULL};
    const struct process_spec spec = {.argv = argv,
                                      .env = env,
                                      .read = {[PROCESS_STDOUT] = true},
                                      .token = 41,
                                      .lease_until_us = UINT64_MAX};
    port->start(port->ctx, START, PROGRAM, &spec);
    assert_int_equal(await(START), ERR_OK);
    read_strays(port);
    for (unsigned i = 0; i < STRAYS; i++) {
        assert_true(is_running(seen.strays[i]));
    }
    port->release(port->ctx, RELEASE, PROGRAM);
    assert_int_equal(await(RELEASE), ERR_OK);
    assert_int_equal(seen.alive_at_release, 0);
    port->release(port->ctx, UNKNOWN, PROGRAM);
    assert_int_equal(await(UNKNOWN), ERR_NOT_FOUND);
    processes_close(all);
    for (int call = 0; call < CALLS; call++) {
        slice_close(&seen.result[call]);
    }
}

/* Under ThreadSanitizer a vfork() is a fork(): what the new process says of its failure is not
 * seen. */
#if defined(__SANITIZE_THREAD__)
#define FORKS_FULLY 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FORKS_FULLY 1
#endif
#endif

static void what_is_bound_to_something_that_is_over_is_not_started(void **state)
{
    (void)state;
#ifdef FORKS_FULLY
    skip();
#endif
    struct processes *all;
    const struct processes_options options = {.answer = on_answer};
    assert_int_equal(processes_open(&options, &all, NULL), ERR_OK);
    const struct process_port *port = processes_port(all);
    const char *const argv[] = {"sleep", "100", NULL}, *const env[] = {NULL};
    struct process_spec spec = {.argv = argv, .env = env, .token = 41, .lease_until_us = 1};
    port->start(port->ctx, LEASE_OVER, PROGRAM, &spec);
    assert_int_equal(await(LEASE_OVER), ERR_NOT_LEADER);
    spec.lease_until_us = UINT64_MAX;
    spec.hold_until_us = 1;
    port->start(port->ctx, LOCK_LOST, PROGRAM + 1, &spec);
    assert_int_equal(await(LOCK_LOST), ERR_FENCED);
    processes_close(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_release_is_answered_when_all_that_a_bound_program_has_started_is_gone),
        cmocka_unit_test(what_is_bound_to_something_that_is_over_is_not_started),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
