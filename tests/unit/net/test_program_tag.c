/* What a program has started is found and killed wherever it hides, and nobody else is. Real
 * processes; this one is their subreaper, as the guardian is. */
#include "net/program_tag.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/proc.h"

enum { TIMEOUT_MS = 10000, OURS = 0x4711, OTHER = 0x47110 };

/* Run a shell that has the tag, in a group of its own. */
static pid_t run_tagged(uint64_t tag, const char *script)
{
    char *variable = program_tag_variable(tag);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        char *environment[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", variable, NULL};
        execle("/bin/sh", "sh", "-c", script, (char *)NULL, environment);
        _exit(127);
    }
    assert_true(pid > 0);
    free(variable);
    return pid;
}

struct count {
    const char *program;
    const char *argument;
    unsigned found;
};

/* By its command line, whatever its environment is. */
static bool count_one(pid_t pid, void *ctx)
{
    struct count *count = ctx;
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return true;
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    bool has_argument = false;
    for (size_t at = 0; at < size; at += strlen(text + at) + 1) {
        has_argument = has_argument || strcmp(text + at, count->argument) == 0;
    }
    count->found += has_argument && strcmp(text, count->program) == 0;
    return true;
}

static unsigned living(const char *program, const char *argument)
{
    struct count count = {.program = program, .argument = argument};
    process_each_below(getpid(), count_one, &count);
    return count.found;
}

/* That many sleeps of so long: not shells that are to become some. */
static void wait_for(const char *argument, unsigned number)
{
    for (int ms = 0; living("sleep", argument) != number; ms++) {
        assert_in_range(ms, 0, TIMEOUT_MS);
        usleep(1000);
    }
}

static void reap_all(void)
{
    while (waitpid(-1, NULL, 0) > 0) {
    }
}

static enum err kill_below(pid_t root, pid_t group, unsigned timeout_ms)
{
    const struct program program = {.tag = OURS, .group = group};
    const struct programs programs = {.at = &program, .count = 1, .below = root};
    return programs_kill(&programs, timeout_ms);
}

static bool kill_ours_and_group(pid_t group)
{
    return kill_below(getpid(), group, TIMEOUT_MS) == ERR_OK;
}

static bool kill_ours(void)
{
    return kill_ours_and_group(0);
}

static int set_up(void **state)
{
    (void)state;
    return prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/* A failed test must not leave anybody. */
static int tear_down(void **state)
{
    (void)state;
    while (process_kill_children(0) > 0) {
        waitpid(-1, NULL, 0);
    }
    return 0;
}

static void who_has_left_the_group_and_lost_its_parent_is_killed(void **state)
{
    (void)state;
    pid_t pid = run_tagged(OURS, "setsid sleep 1001 & setsid sh -c 'setsid sleep 1001 &'");
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    wait_for("1001", 2);
    assert_true(kill_ours());
    assert_int_equal(living("sleep", "1001"), 0);
    reap_all();
}

/* Whoever has much memory gives it back first, and takes a while for it. The next leader's program
 * may want the same lock. */
struct hoarder {
    char path[40]; /* of the locked file */
    int lock;
    pid_t group; /* its leader is a zombie */
};

static struct hoarder run_hoarder(void)
{
    struct hoarder h = {.path = "/tmp/moonkeeper-tag-XXXXXX"};
    char script[256];
    h.lock = mkstemp(h.path);
    assert_true(h.lock >= 0);
    snprintf(script, sizeof script,
             "exec 9>%s; flock 9; (head -c 800000000 /dev/zero; exec sleep 1006) | tail >&- &",
             h.path);
    h.group = run_tagged(OURS, script);
    siginfo_t end;
    assert_int_equal(waitid(P_PID, (id_t)h.group, &end, WEXITED | WNOWAIT), 0);
    wait_for("1006", 1);
    assert_int_not_equal(flock(h.lock, LOCK_EX | LOCK_NB), 0);
    return h;
}

static void expect_its_lock(struct hoarder *h)
{
    assert_int_equal(flock(h->lock, LOCK_EX | LOCK_NB), 0);
    close(h->lock);
    unlink(h->path);
    reap_all();
}

static void what_was_killed_has_given_back_its_locks(void **state)
{
    (void)state;
    struct hoarder h = run_hoarder();
    assert_true(kill_ours());
    expect_its_lock(&h);
}

/* By the time one looks, it has no environment, and no tag. */
static void so_has_what_was_killed_with_its_group(void **state)
{
    (void)state;
    struct hoarder h = run_hoarder();
    kill(-h.group, SIGKILL);
    assert_true(kill_ours_and_group(h.group));
    expect_its_lock(&h);
}

/* Another program of the same node, a later one of the same leader, and whoever has no tag. */
static void nobody_else_is_killed(void **state)
{
    (void)state;
    run_tagged(OTHER, "exec setsid sleep 1002");
    run_tagged(OURS, "exec env -u " PROGRAM_TAG_VARIABLE " setsid sleep 1002");
    run_tagged(OURS, "exec env " PROGRAM_TAG_VARIABLE "=0x4711x setsid sleep 1002");
    run_tagged(OURS, "exec env NOT_" PROGRAM_TAG_VARIABLE "=4711 " PROGRAM_TAG_VARIABLE
                     "= setsid sleep 1002");
    run_tagged(OURS, "exec setsid sleep 1003");
    wait_for("1002", 4);
    wait_for("1003", 1);
    assert_true(kill_ours());
    assert_int_equal(living("sleep", "1003"), 0);
    assert_int_equal(living("sleep", "1002"), 4);
}

/* A node that a node's script has started: the outer program has ended, and all of it goes. */
static void a_program_within_a_program_ends_with_either(void **state)
{
    (void)state;
    char *outer = program_tag_variable(OURS);
    setenv(PROGRAM_TAG_VARIABLE, strchr(outer, '=') + 1, 1);
    free(outer);
    run_tagged(OTHER, "exec setsid sleep 1004");
    unsetenv(PROGRAM_TAG_VARIABLE);
    wait_for("1004", 1);
    run_tagged(OURS, "exec setsid sleep 1004");
    wait_for("1004", 2);
    assert_true(kill_ours());
    assert_int_equal(living("sleep", "1004"), 0);
}

/* Somebody has set the variable for the node, by whatever name their program has. */
static void a_value_of_others_hides_no_tag(void **state)
{
    (void)state;
    const char *const values[] = {"", "nightly", "0x:", "12 34:nightly"};
    enum { VALUES = sizeof values / sizeof values[0] };
    for (size_t i = 0; i < VALUES; i++) {
        setenv(PROGRAM_TAG_VARIABLE, values[i], 1);
        run_tagged(OURS, "exec setsid sleep 1007");
    }
    unsetenv(PROGRAM_TAG_VARIABLE);
    wait_for("1007", VALUES);
    assert_true(kill_ours());
    assert_int_equal(living("sleep", "1007"), 0);
}

/* While it is looked for, it goes on giving birth, in sessions of their own, to what loses its
 * parent at once and becomes other programs. */
static void who_forks_all_the_time_does_not_get_away(void **state)
{
    (void)state;
    run_tagged(OURS, "exec setsid sh -c 'while :; do "
                     "setsid sh -c \"setsid sleep 1005 & exec sleep 0.003\" & "
                     "done' 1006");
    for (int ms = 0; living("sleep", "1005") < 10; ms++) {
        assert_in_range(ms, 0, TIMEOUT_MS);
        usleep(1000);
    }
    assert_true(kill_ours());
    assert_int_equal(living("sleep", "1005"), 0);
    assert_int_equal(living("sh", "1006"), 0);
    reap_all(); /* there is nobody left who could go on */
}

/* No more descriptors than these, for us. Returns what it was. */
static struct rlimit limit_descriptors(rlim_t number)
{
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit limit = {.rlim_cur = number, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

/* None at all, or too few for all that it takes to find one. */
static void who_cannot_look_does_not_say_that_nobody_is_left(void **state)
{
    (void)state;
    run_tagged(OURS, "exec setsid sleep 1009");
    wait_for("1009", 1);
    int lowest = dup(0);
    close(lowest);
    for (int spare = 0; spare < 3; spare++) {
        struct rlimit before = limit_descriptors((rlim_t)(lowest + spare));
        enum err below = kill_below(getpid(), 0, 5);
        enum err of_all = kill_below(0, 0, 5);
        setrlimit(RLIMIT_NOFILE, &before);
        bool is_left = living("sleep", "1009") > 0;
        assert_true(below != ERR_OK || !is_left);
        assert_true(of_all != ERR_OK || !is_left);
        assert_true(spare > 0 || (below == ERR_IO && of_all == ERR_IO && is_left));
    }
    assert_true(kill_ours());
    assert_int_equal(living("sleep", "1009"), 0);
}

/* Somebody closes files while it waits. */
static void who_cannot_look_looks_again(void **state)
{
    (void)state;
    run_tagged(OURS, "exec setsid sleep 1010");
    wait_for("1010", 1);
    int lowest = dup(0);
    close(lowest);
    struct rlimit before = limit_descriptors((rlim_t)lowest);
    pid_t us = getpid();
    if (fork() == 0) {
        usleep(20000);
        prlimit(us, RLIMIT_NOFILE, &before, NULL);
        _exit(0);
    }
    bool killed = kill_ours();
    setrlimit(RLIMIT_NOFILE, &before);
    assert_true(killed);
    assert_int_equal(living("sleep", "1010"), 0);
}

/* What we must not kill: root's, while we are nobody. Where we are not root, or may not become
 * nobody, or nobody does not see others' processes, there is nothing like that. */
static void what_cannot_be_killed_is_left(void **state)
{
    enum {
        NOBODY = 65534,
        CANNOT_TRY = 77,
        UNKNOWN_MS = 100 /* who has no environment is waited for */
    };
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    pid_t group = run_tagged(OURS, "exec sleep 1011");
    wait_for("1011", 1);
    pid_t us = getpid(), other = fork();
    if (other == 0) {
        if (setuid(NOBODY) != 0 || process_group_of(group) != group) {
            _exit(CANNOT_TRY);
        }
        _exit(kill_below(us, group, UNKNOWN_MS) == ERR_BUSY ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(other, &status, 0), other);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_TRY) {
        skip();
    }
    assert_int_equal(status, 0);
    assert_int_equal(living("sleep", "1011"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_has_left_the_group_and_lost_its_parent_is_killed,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_killed_has_given_back_its_locks, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(so_has_what_was_killed_with_its_group, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_else_is_killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_program_within_a_program_ends_with_either, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_value_of_others_hides_no_tag, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_cannot_look_does_not_say_that_nobody_is_left, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_cannot_look_looks_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_killed_is_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_forks_all_the_time_does_not_get_away, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
