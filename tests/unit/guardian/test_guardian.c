/* The guardian with nodes that do nothing but die in some way: real processes, no network. */
#include "guardian/guardian.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "guardian/backoff.h"
#include "guardian/children.h"
#include "net/proc.h"
#include "net/program_tag.h"

enum { DEADLINE_MS = 20000, TAG = 4711 };

/* What the test, the guardian and its node all see. */
struct scene {
    char data_dir[64];
    _Atomic int starts;
    _Atomic int node;
    _Atomic int child, grandchild;
    _Atomic bool family_recorded; /* both live, and the node has them in its table */
    _Atomic uint64_t deadline_us;
    uint8_t incarnations[8][16];
    bool new_guardian[8];
    struct children *table; /* the node's */
};

static struct scene *scene;

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int set_up(void **state)
{
    (void)state;
    scene = mmap(NULL, sizeof *scene, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    strcpy(scene->data_dir, "/tmp/mk-guardian-XXXXXX");
    return scene == MAP_FAILED || mkdtemp(scene->data_dir) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    if (scene->child > 1) { /* whatever a failed test left: it would keep ctest waiting */
        kill(-scene->child, SIGKILL);
    }
    char path[128];
    snprintf(path, sizeof path, "%s/" CHILDREN_FILE, scene->data_dir);
    unlink(path);
    rmdir(scene->data_dir);
    munmap(scene, sizeof *scene);
    return 0;
}

static pid_t run(int (*node)(void *ctx, const struct guardian_host *host))
{
    pid_t pid = fork();
    if (pid == 0) {
        const struct guardian_options options = {.data_dir = scene->data_dir, .node = node};
        _exit(guardian_run(&options));
    }
    assert_true(pid > 0);
    return pid;
}

static int status_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Poll until the condition holds. */
#define EVENTUALLY(condition)                                         \
    do {                                                              \
        uint64_t until_us_ = now_us() + DEADLINE_MS * UINT64_C(1000); \
        while (!(condition)) {                                        \
            assert_true(now_us() < until_us_);                        \
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);  \
        }                                                             \
    } while (0)

/* As proc(5) has it; 'X': gone. */
static char state_of(pid_t pid)
{
    char path[64], state = 'X';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 'X';
    }
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) {
        state = 'X';
    }
    fclose(file);
    return state;
}

/* Gone or a zombie. */
static bool is_dead(pid_t pid)
{
    char state = state_of(pid);
    return state == 'Z' || state == 'X';
}

/* A node that is about to stop itself: were it told to go on before it has, it would never. */
static void let_go_on(pid_t node)
{
    EVENTUALLY(state_of(node) == 'T');
    kill(node, SIGCONT);
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static int begin(const struct guardian_host *host)
{
    int start = atomic_load(&scene->starts);
    memcpy(scene->incarnations[start], host->page->incarnation, 16);
    scene->new_guardian[start] = host->page->guardian_is_new;
    scene->node = getpid();
    return atomic_fetch_add(&scene->starts, 1) + 1;
}

static void become_ready(const struct guardian_host *host)
{
    atomic_store(&host->page->ready, true);
    guardian_wake(host->wake_fd);
}

static void wait_for_ever(void)
{
    for (;;) {
        pause();
    }
}

/* A child with a child, both in a group of their own, in the guardian's table. They may live for so
 * long from when both do; UINT64_MAX: no deadline. */
static void spawn_family(const struct guardian_host *host, uint64_t lives_us)
{
    children_open(host->page, host->wake_fd, scene->data_dir, &scene->table, NULL);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            scene->grandchild = getpid();
            wait_for_ever();
        }
        scene->child = getpid();
        wait_for_ever();
    }
    setpgid(child, child);
    while (scene->child == 0 || scene->grandchild == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    scene->deadline_us = lives_us == UINT64_MAX ? UINT64_MAX : now_us() + lives_us;
    uint32_t slot;
    const struct guardian_entry entry = {
        .process_group = child, .tag = TAG, .deadline_us = scene->deadline_us};
    if (children_add(scene->table, &entry, &slot) != ERR_OK) {
        _exit(99);
    }
    scene->family_recorded = true;
}

static int killed_twice(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    if (begin(host) < 3) {
        raise(SIGKILL);
    }
    return 0;
}

static int refuses(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    begin(host);
    return 2;
}

static int loses_its_disk(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    begin(host);
    become_ready(host);
    return GUARDIAN_EXIT_STORAGE;
}

static int ready_then_fails_once(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    int start = begin(host);
    become_ready(host);
    return start == 1 ? 1 : 0;
}

static int ready_then_has_no_future(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    begin(host);
    atomic_store(&host->page->next, GUARDIAN_ENDS);
    become_ready(host);
    return 1;
}

static int killed_once_and_not_to_be_restarted(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    if (begin(host) == 1) {
        atomic_store(&host->page->next, GUARDIAN_WAITS);
        become_ready(host);
        raise(SIGKILL);
    }
    return 0;
}

static int dies_with_a_family(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    if (begin(host) == 1) {
        spawn_family(host, UINT64_MAX);
        raise(SIGKILL);
    }
    return process_start_time(scene->child) == 0 && process_start_time(scene->grandchild) == 0 ? 0
                                                                                               : 1;
}

static int stops_with_a_family(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    begin(host);
    spawn_family(host, 20000);
    raise(SIGSTOP);
    children_close(scene->table);
    return 0;
}

/* The child becomes a shell whose sleep leaves the group, and its parent. */
static int stops_with_a_stray(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    begin(host);
    children_open(host->page, host->wake_fd, scene->data_dir, &scene->table, NULL);
    pid_t child = fork();
    if (child == 0) {
        char *tagged = program_tag_variable(TAG);
        char *environment[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", tagged, NULL};
        char script[256];
        snprintf(script, sizeof script,
                 "(setsid sh -c 'echo $$ >%s/stray; exec sleep 100' &); exec sleep 100",
                 scene->data_dir);
        execle("/bin/sh", "sh", "-c", script, (char *)NULL, environment);
        _exit(1);
    }
    setpgid(child, child);
    scene->child = child;
    char path[128];
    snprintf(path, sizeof path, "%s/stray", scene->data_dir);
    int stray = 0;
    while (stray == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        FILE *file = fopen(path, "re");
        if (file != NULL && fscanf(file, "%d", &stray) != 1) {
            stray = 0;
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    unlink(path);
    scene->grandchild = stray;
    scene->deadline_us = now_us() + 20000;
    const struct guardian_entry entry = {
        .process_group = child, .tag = TAG, .deadline_us = scene->deadline_us};
    uint32_t slot;
    scene->family_recorded = children_add(scene->table, &entry, &slot) == ERR_OK;
    raise(SIGSTOP);
    children_close(scene->table);
    return 0;
}

static int lives_with_a_family(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    begin(host);
    spawn_family(host, UINT64_MAX);
    become_ready(host);
    wait_for_ever();
    return 0;
}

static int waits_for_term(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    begin(host);
    become_ready(host);
    int signal_number;
    sigwait(&set, &signal_number);
    return 0;
}

static int ignores_term(void *ctx, const struct guardian_host *host)
{
    (void)ctx;
    signal(SIGTERM, SIG_IGN);
    begin(host);
    become_ready(host);
    wait_for_ever();
    return 0;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void a_killed_node_is_started_again_as_somebody_new(void **state)
{
    (void)state;
    assert_int_equal(status_of(run(killed_twice)), 0);
    assert_int_equal(scene->starts, 3);
    assert_memory_not_equal(scene->incarnations[0], scene->incarnations[1], 16);
    assert_memory_not_equal(scene->incarnations[1], scene->incarnations[2], 16);
    assert_true(scene->new_guardian[0]);
    assert_false(scene->new_guardian[1] || scene->new_guardian[2]);
}

static void a_node_that_cannot_start_is_not_tried_again(void **state)
{
    (void)state;
    assert_int_equal(status_of(run(refuses)), 2);
    assert_int_equal(scene->starts, 1);
}

static void a_node_whose_disk_failed_is_not_started_again(void **state)
{
    (void)state;
    assert_int_equal(status_of(run(loses_its_disk)), GUARDIAN_EXIT_STORAGE);
    assert_int_equal(scene->starts, 1);
}

static void a_node_that_was_ready_and_fails_is_started_again(void **state)
{
    (void)state;
    assert_int_equal(status_of(run(ready_then_fails_once)), 0);
    assert_int_equal(scene->starts, 2);
}

static void a_node_that_says_it_has_no_future_takes_its_guardian_with_it(void **state)
{
    (void)state;
    assert_int_equal(status_of(run(ready_then_has_no_future)), 1);
    assert_int_equal(scene->starts, 1);
}

static void a_guardian_that_is_to_wait_starts_the_node_when_it_is_told_to(void **state)
{
    (void)state;
    pid_t guardian = run(killed_once_and_not_to_be_restarted);
    EVENTUALLY(scene->node != 0);
    EVENTUALLY(process_start_time(scene->node) == 0); /* reaped */
    nanosleep(&(struct timespec){.tv_nsec = 20 * BACKOFF_FIRST_US * 1000L}, NULL);
    assert_int_equal(scene->starts, 1);
    kill(guardian, SIGHUP);
    assert_int_equal(status_of(guardian), 0);
    assert_int_equal(scene->starts, 2);
}

static void what_a_dead_node_left_is_gone_before_it_starts_again(void **state)
{
    (void)state;
    assert_int_equal(status_of(run(dies_with_a_family)), 0);
    assert_int_equal(scene->starts, 2);
}

static void a_deadline_holds_while_the_node_is_stopped(void **state)
{
    (void)state;
    pid_t guardian = run(stops_with_a_family);
    EVENTUALLY(scene->family_recorded);
    EVENTUALLY(is_dead(scene->child) && is_dead(scene->grandchild));
    assert_true(now_us() >= scene->deadline_us);
    assert_false(is_dead(scene->node));
    let_go_on(scene->node);
    assert_int_equal(status_of(guardian), 0);
}

static void a_deadline_holds_for_what_has_left_its_group(void **state)
{
    (void)state;
    pid_t guardian = run(stops_with_a_stray);
    EVENTUALLY(scene->family_recorded);
    EVENTUALLY(is_dead(scene->child) && is_dead(scene->grandchild));
    assert_true(now_us() >= scene->deadline_us);
    assert_false(is_dead(scene->node));
    let_go_on(scene->node);
    assert_int_equal(status_of(guardian), 0);
}

static void a_node_does_not_outlive_its_guardian(void **state)
{
    (void)state;
    pid_t guardian = run(waits_for_term);
    EVENTUALLY(scene->node != 0);
    kill(guardian, SIGKILL);
    assert_int_equal(waitpid(guardian, NULL, 0), guardian);
    EVENTUALLY(is_dead(scene->node));
}

/* A node is a zombie when its first thread is; until the last one has gone too, it holds its files,
 * and counts as living. */
static bool is_cleared(void)
{
    struct why why = {""};
    assert_int_equal(children_clear(scene->data_dir, NULL, &why), ERR_OK);
    return is_dead(scene->child);
}

static void a_new_guardian_clears_what_the_old_one_left(void **state)
{
    (void)state;
    pid_t guardian = run(lives_with_a_family);
    EVENTUALLY(scene->family_recorded);
    char path[128];
    snprintf(path, sizeof path, "%s/" CHILDREN_FILE, scene->data_dir);
    kill(guardian, SIGKILL);
    assert_int_equal(waitpid(guardian, NULL, 0), guardian);
    EVENTUALLY(is_dead(scene->node));
    assert_false(is_dead(scene->child));
    assert_false(is_dead(scene->grandchild));

    EVENTUALLY(is_cleared());
    assert_true(is_dead(scene->grandchild));
}

/* As in a container whose first process reaps nobody: no node could be started there again. */
static void zombies_that_nobody_reaps_hold_up_no_new_guardian(void **state)
{
    (void)state;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid_t guardian = run(lives_with_a_family);
    EVENTUALLY(scene->family_recorded);
    kill(guardian, SIGKILL);
    assert_int_equal(waitpid(guardian, NULL, 0), guardian);
    EVENTUALLY(is_dead(scene->node));
    EVENTUALLY(is_cleared());
    assert_true(is_dead(scene->grandchild));
    assert_int_equal(kill(-scene->child, 0), 0); /* the zombies are there */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

/* A container may be given thousands of variables. Only the first 16 KiB were looked at, and ours
 * comes last: what a dead node's scripts had left was taken for a stranger's, and lived on. */
static void what_is_ours_is_known_in_a_large_environment(void **state)
{
    (void)state;
    static char many[100000];
    memset(many, 'x', sizeof many - 1);
    memcpy(many, "MANY=", 5);
    char *tagged = program_tag_variable(TAG);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        char *environment[] = {many, tagged, NULL};
        execle("/bin/sleep", "sleep", "60", (char *)NULL, environment);
        _exit(1);
    }
    scene->child = child; /* tear_down() sees to it */
    EVENTUALLY(program_tag_in_group(child, TAG));
    assert_false(program_tag_in_group(child, TAG + 1));
    free(tagged);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    scene->child = 0;
}

static void another_guardian_leaves_the_children_of_a_living_node_alone(void **state)
{
    (void)state;
    pid_t guardian = run(lives_with_a_family);
    EVENTUALLY(scene->family_recorded);
    struct why why = {""};
    assert_int_equal(children_clear(scene->data_dir, NULL, &why), ERR_OK);
    assert_false(is_dead(scene->child));
    assert_false(is_dead(scene->grandchild));
    struct guardian_page page = {0};
    struct children *table;
    assert_int_equal(children_open(&page, -1, scene->data_dir, &table, &why), ERR_LOCKED);
    kill(guardian, SIGKILL);
    assert_int_equal(waitpid(guardian, NULL, 0), guardian);
    EVENTUALLY(is_dead(scene->node));
    EVENTUALLY(is_cleared());
}

static enum err open_table(struct guardian_page *page)
{
    struct children *table = NULL;
    struct why why = {""};
    enum err e = children_open(page, -1, scene->data_dir, &table, &why);
    uint32_t slot;
    if (e == ERR_OK &&
        children_add(table, &(struct guardian_entry){.process_group = getpid()}, &slot) != ERR_OK) {
        e = ERR_BUSY; /* it is not empty */
    }
    children_close(table);
    *page = (struct guardian_page){0};
    return e;
}

static off_t table_size(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* What it gave back to the file system another writer might have by now. */
static void on_a_full_disk_a_node_finds_room_for_its_table_where_the_last_one_was(void **state)
{
    (void)state;
    struct guardian_page page = {0};
    assert_int_equal(open_table(&page), ERR_OK);
    struct rlimit before, nothing;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    nothing = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &nothing), 0); /* no file grows any more */
    enum err e = open_table(&page);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(e, ERR_OK);
}

static void a_table_of_another_size_is_made_one_of_ours(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/" CHILDREN_FILE, scene->data_dir);
    struct guardian_page page = {0};
    assert_int_equal(open_table(&page), ERR_OK);
    off_t size = table_size(path);
    const off_t sizes[] = {0, 1, size - 1, size + 1, 3 * size};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        for (off_t at = 0; at < sizes[i]; at++) {
            fputc(0x11, f); /* every slot taken, if it were believed */
        }
        fclose(f);
        assert_int_equal(open_table(&page), ERR_OK);
        assert_int_equal(table_size(path), size);
    }
}

static void a_stranger_with_an_old_number_is_left_alone(void **state)
{
    (void)state;
    struct guardian_page page = {0};
    struct children *table;
    assert_int_equal(children_open(&page, -1, scene->data_dir, &table, NULL), ERR_OK);
    pid_t stranger = fork();
    if (stranger == 0) {
        setpgid(0, 0);
        wait_for_ever();
    }
    setpgid(stranger, stranger);
    uint32_t slot;
    const struct guardian_entry entry = {.process_group = stranger, .tag = TAG, .deadline_us = 1};
    assert_int_equal(children_add(table, &entry, &slot), ERR_OK);
    page.children[slot].start_time++; /* as if the number had been given out again since */
    assert_int_equal(children_kill_expired(&page, 2), ERR_OK);
    assert_false(process_kill_group(stranger, process_start_time(stranger) + 1));
    assert_false(is_dead(stranger));
    children_close(table);
    kill(stranger, SIGKILL);
    assert_int_equal(waitpid(stranger, NULL, 0), stranger);
}

static void the_first_term_is_a_planned_stop(void **state)
{
    (void)state;
    pid_t guardian = run(waits_for_term);
    EVENTUALLY(scene->node != 0);
    kill(guardian, SIGTERM);
    assert_int_equal(status_of(guardian), 0);
    assert_int_equal(scene->starts, 1);
}

static void the_second_term_ends_at_once(void **state)
{
    (void)state;
    pid_t guardian = run(ignores_term);
    EVENTUALLY(scene->node != 0);
    uint64_t until_us = now_us() + DEADLINE_MS * UINT64_C(1000);
    int status;
    while (waitpid(guardian, &status, WNOHANG) == 0) { /* signals of one kind may be merged */
        assert_true(now_us() < until_us);
        kill(guardian, SIGTERM);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_true(is_dead(scene->node));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_killed_node_is_started_again_as_somebody_new),
        TEST(a_node_that_cannot_start_is_not_tried_again),
        TEST(a_node_whose_disk_failed_is_not_started_again),
        TEST(a_node_that_was_ready_and_fails_is_started_again),
        TEST(a_node_that_says_it_has_no_future_takes_its_guardian_with_it),
        TEST(a_guardian_that_is_to_wait_starts_the_node_when_it_is_told_to),
        TEST(what_a_dead_node_left_is_gone_before_it_starts_again),
        TEST(a_deadline_holds_while_the_node_is_stopped),
        TEST(a_deadline_holds_for_what_has_left_its_group),
        TEST(a_node_does_not_outlive_its_guardian),
        TEST(a_new_guardian_clears_what_the_old_one_left),
        TEST(zombies_that_nobody_reaps_hold_up_no_new_guardian),
        TEST(what_is_ours_is_known_in_a_large_environment),
        TEST(another_guardian_leaves_the_children_of_a_living_node_alone),
        TEST(on_a_full_disk_a_node_finds_room_for_its_table_where_the_last_one_was),
        TEST(a_table_of_another_size_is_made_one_of_ours),
        TEST(a_stranger_with_an_old_number_is_left_alone),
        TEST(the_first_term_is_a_planned_stop),
        TEST(the_second_term_ends_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
