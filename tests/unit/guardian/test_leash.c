/* One program on a leash: it ends by itself, at its deadline, or with whoever holds it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guardian/leash.h"

enum { MS = 1000, SECOND_US = 1000000, PATIENCE_US = 20 * SECOND_US };

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * SECOND_US + (uint64_t)t.tv_nsec / 1000;
}

static struct leash *start(const char *script, uint64_t deadline_us)
{
    char sh[] = "sh", c[] = "-c", added[] = "MOONKEEPER_FENCE=17";
    char *argv[] = {sh, c, (char *)(uintptr_t)script, NULL}, *environment[] = {added, NULL};
    struct leash *l = NULL;
    struct why why = {""};
    if (leash_start(argv, environment, deadline_us, &l, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    return l;
}

static struct leash_end wait_end(struct leash *l)
{
    struct pollfd p = {.fd = leash_fd(l), .events = POLLIN};
    struct leash_end how = {0};
    assert_int_equal(poll(&p, 1, PATIENCE_US / MS), 1);
    assert_true(leash_ended(l, &how));
    return how;
}

/* A pipe whose writing end the program, and all that it starts, holds open: it is at its end when
 * the last of them is gone. Lines in it are process ids. */
struct life {
    int fds[2];
};

static struct life life_new(void)
{
    struct life life;
    assert_int_equal(pipe(life.fds), 0);
    return life;
}

static void life_began(struct life *life)
{
    char text[64];
    close(life->fds[1]);
    assert_true(read(life->fds[0], text, sizeof text) > 0);
}

/* How long it went on, in µs. */
static uint64_t life_ended(struct life *life)
{
    uint64_t from_us = now_us();
    char text[64];
    struct pollfd p = {.fd = life->fds[0], .events = POLLIN};
    do {
        if (poll(&p, 1, PATIENCE_US / MS) == 0) {
            fail_msg("something goes on");
        }
    } while (read(life->fds[0], text, sizeof text) > 0);
    close(life->fds[0]);
    return now_us() - from_us;
}

/* It, a child of its, and one that has left its session, all writing into fd. */
static const char *family(const struct life *life)
{
    static char script[300];
    snprintf(script, sizeof script,
             "setsid sh -c 'echo 1 >&%d; sleep 100' & sleep 100 & sleep 100; true", life->fds[1]);
    return script;
}

static void the_code_of_the_program_is_passed_on(void **state)
{
    (void)state;
    struct leash *l = start("exit 5", UINT64_MAX);
    struct leash_end how = wait_end(l);
    assert_int_equal(how.not_run, 0);
    assert_false(how.expired);
    assert_int_equal(WEXITSTATUS(how.status), 5);
    leash_free(l);
}

static void the_environment_is_ours_with_what_was_added(void **state)
{
    (void)state;
    setenv("MOONKEEPER_FENCE", "1", 1);
    setenv("MOONKEEPER_ENDPOINTS", "x", 1);
    setenv("OTHER", "y", 1);
    struct leash *l =
        start("test \"$MOONKEEPER_FENCE.$MOONKEEPER_ENDPOINTS.$OTHER\" = 17..y", UINT64_MAX);
    assert_int_equal(wait_end(l).status, 0);
    leash_free(l);
}

static void a_program_that_is_not_there_is_told(void **state)
{
    (void)state;
    char name[] = "no-such-program-here";
    char *argv[] = {name, NULL}, *environment[] = {NULL};
    struct leash *l = NULL;
    struct why why;
    assert_int_equal(leash_start(argv, environment, UINT64_MAX, &l, &why), ERR_OK);
    assert_int_equal(wait_end(l).not_run, ENOENT);
    leash_free(l);
}

static void nothing_begins_after_the_deadline(void **state)
{
    (void)state;
    struct life life = life_new();
    struct leash *l = start(family(&life), now_us());
    close(life.fds[1]);
    struct leash_end how = wait_end(l);
    assert_true(how.expired);
    assert_int_equal(how.not_run, 0);
    char text[8];
    assert_int_equal(read(life.fds[0], text, sizeof text), 0);
    close(life.fds[0]);
    leash_free(l);
}

static void at_the_deadline_all_of_it_is_killed(void **state)
{
    (void)state;
    struct life life = life_new();
    uint64_t deadline_us = now_us() + 400 * MS;
    struct leash *l = start(family(&life), deadline_us);
    life_began(&life);
    struct leash_end how = wait_end(l);
    assert_true(how.expired);
    assert_true(now_us() >= deadline_us);
    assert_int_equal(WTERMSIG(how.status), SIGKILL);
    life_ended(&life);
    leash_free(l);
}

/* What the timers of a process ring at, by the clock that goes on while the machine sleeps, in s;
 * 0: it has none. As proc(5) has it. */
static long long boottime_alarm_s(long pid)
{
    long long found_s = 0;
    for (int fd = 0; fd < 64; fd++) {
        char path[64], line[128];
        int clock = -1;
        long long flags = 0, left_s = 0;
        snprintf(path, sizeof path, "/proc/%ld/fdinfo/%d", pid, fd);
        FILE *info = fopen(path, "r");
        while (info != NULL && fgets(line, sizeof line, info) != NULL) {
            sscanf(line, "clockid: %d", &clock);
            sscanf(line, "settime flags: %lld", &flags);
            sscanf(line, "it_value: (%lld", &left_s);
        }
        if (info != NULL) {
            fclose(info);
        }
        found_s = clock == CLOCK_BOOTTIME && left_s > 0 ? left_s : found_s;
    }
    return found_s;
}

/* Right after a sleep of the machine that went past it, too. */
static void the_deadline_counts_time_asleep(void **state)
{
    (void)state;
    struct life life = life_new();
    char script[100], text[32];
    snprintf(script, sizeof script, "echo $PPID >&%d; exec sleep 100", life.fds[1]);
    struct leash *l = start(script, now_us() + 1000 * (uint64_t)SECOND_US);
    close(life.fds[1]);
    ssize_t size = read(life.fds[0], text, sizeof text - 1);
    assert_true(size > 0);
    text[size] = 0;
    long watcher = strtol(text, NULL, 10);
    uint64_t until_us = now_us() + PATIENCE_US;
    while (boottime_alarm_s(watcher) < 500) { /* it sets it when the program has begun */
        assert_true(now_us() < until_us);
        poll(NULL, 0, 1);
    }
    close(life.fds[0]);
    leash_free(l);
}

static void a_deadline_can_be_moved_both_ways(void **state)
{
    (void)state;
    struct leash *l = start("exec sleep 100", now_us() + 300 * MS);
    uint64_t later_us = now_us() + 900 * MS;
    leash_set_deadline(l, later_us);
    struct pollfd p = {.fd = leash_fd(l), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 600), 0);
    leash_set_deadline(l, now_us());
    assert_true(wait_end(l).expired);
    assert_true(now_us() < later_us);
    leash_free(l);
}

static void signals_are_passed_on(void **state)
{
    (void)state;
    struct life life = life_new();
    char script[100];
    snprintf(script, sizeof script, "trap 'exit 9' USR1; echo 1 >&%d; while :; do sleep 0.01; done",
             life.fds[1]);
    struct leash *l = start(script, UINT64_MAX);
    life_began(&life);
    leash_signal(l, SIGUSR1);
    assert_int_equal(WEXITSTATUS(wait_end(l).status), 9);
    leash_free(l);
    close(life.fds[0]);
}

static void what_a_program_leaves_behind_is_ended(void **state)
{
    (void)state;
    struct life life = life_new();
    char script[200];
    snprintf(script, sizeof script, "setsid sh -c 'echo 1 >&%d; sleep 100' & exit 3", life.fds[1]);
    struct leash *l = start(script, UINT64_MAX);
    close(life.fds[1]);
    assert_int_equal(WEXITSTATUS(wait_end(l).status), 3);
    life_ended(&life);
    leash_free(l);
}

/* A process that holds a leash, does this to itself, and waits. */
static pid_t start_holder(struct life *life, const char *script, uint64_t deadline_us,
                          int signal_number)
{
    pid_t holder = fork();
    assert_true(holder >= 0);
    if (holder == 0) {
        start(script, deadline_us);
        close(life->fds[1]);
        raise(signal_number);
        for (;;) {
            pause();
        }
    }
    life_began(life);
    return holder;
}

/* And its watcher, which is left to us. */
static void end_holder(pid_t holder)
{
    kill(holder, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0) {
    }
}

static void a_stopped_holder_does_not_prolong_it(void **state)
{
    (void)state;
    struct life life = life_new();
    uint64_t deadline_us = now_us() + 500 * MS;
    pid_t holder = start_holder(&life, family(&life), deadline_us, SIGSTOP);
    life_ended(&life);
    assert_true(now_us() >= deadline_us);
    end_holder(holder);
}

/* Where no shell with job control looks after the group that the holder is in. */
static void nobody_in_its_group_is_hung_up_when_a_stopped_holder_loses_its_program(void **state)
{
    (void)state;
    pid_t alone = fork();
    assert_true(alone >= 0);
    if (alone == 0) {
        setsid();
        a_stopped_holder_does_not_prolong_it(NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(alone, &status, 0), alone);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void it_dies_with_its_holder(void **state)
{
    (void)state;
    struct life life = life_new();
    pid_t holder = start_holder(&life, family(&life), UINT64_MAX, SIGCONT);
    kill(holder, SIGKILL);
    life_ended(&life);
    end_holder(holder);
}

/* The first child of a process: here, the watcher. */
static pid_t child_of(pid_t parent)
{
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return (pid_t)strtol(text, NULL, 10);
}

static void it_dies_with_its_watcher(void **state)
{
    (void)state;
    struct life life = life_new();
    struct leash *l = start(family(&life), UINT64_MAX);
    life_began(&life);
    kill(child_of(getpid()), SIGKILL);
    assert_int_equal(WTERMSIG(wait_end(l).status), SIGKILL);
    life_ended(&life);
    leash_free(l);
}

static void the_program_dies_with_its_watcher_while_the_holder_is_stopped(void **state)
{
    (void)state;
    struct life life = life_new();
    char script[64];
    snprintf(script, sizeof script, "echo 1 >&%d; exec sleep 100", life.fds[1]);
    pid_t holder = start_holder(&life, script, UINT64_MAX, SIGSTOP);
    kill(child_of(holder), SIGKILL);
    life_ended(&life);
    end_holder(holder);
}

static void freeing_it_ends_it(void **state)
{
    (void)state;
    struct life life = life_new();
    struct leash *l = start(family(&life), UINT64_MAX);
    life_began(&life);
    leash_free(l);
    life_ended(&life);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_code_of_the_program_is_passed_on),
        cmocka_unit_test(the_environment_is_ours_with_what_was_added),
        cmocka_unit_test(a_program_that_is_not_there_is_told),
        cmocka_unit_test(nothing_begins_after_the_deadline),
        cmocka_unit_test(at_the_deadline_all_of_it_is_killed),
        cmocka_unit_test(the_deadline_counts_time_asleep),
        cmocka_unit_test(a_deadline_can_be_moved_both_ways),
        cmocka_unit_test(signals_are_passed_on),
        cmocka_unit_test(what_a_program_leaves_behind_is_ended),
        cmocka_unit_test(a_stopped_holder_does_not_prolong_it),
        cmocka_unit_test(nobody_in_its_group_is_hung_up_when_a_stopped_holder_loses_its_program),
        cmocka_unit_test(it_dies_with_its_holder),
        cmocka_unit_test(it_dies_with_its_watcher),
        cmocka_unit_test(the_program_dies_with_its_watcher_while_the_holder_is_stopped),
        cmocka_unit_test(freeing_it_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
