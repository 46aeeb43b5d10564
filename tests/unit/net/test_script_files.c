/* Files of scripts on the real file system: whole, in order, and never a wait for what may not
 * come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/queue.h"
#include "net/script_files.h"
#include "wire/reader.h"

struct answer {
    uint64_t call;
    enum err err;
    char *message;
    struct slice result;
};

struct fixture {
    char folder[64]; /* of the test; the node's own is below */
    struct script_files *files;
    struct queue answers;
    uint64_t calls;
};

static void on_answer(void *ctx, uint64_t call, enum err err, const char *message,
                      struct slice result_take)
{
    struct fixture *f = ctx;
    struct answer *a = NEW(struct answer);
    *a = (struct answer){.call = call,
                         .err = err,
                         .message = alloc_string(message != NULL ? message : ""),
                         .result = result_take};
    assert_true(queue_push(&f->answers, a));
}

static int set_up(void **state)
{
    static struct fixture f;
    memset(&f, 0, sizeof f);
    snprintf(f.folder, sizeof f.folder, "/tmp/moonkeeper-files-XXXXXX");
    assert_non_null(mkdtemp(f.folder));
    queue_init(&f.answers, 1000, NULL, NULL);
    char own[96];
    snprintf(own, sizeof own, "%s/own", f.folder);
    f.files = script_files_new(
        &(struct script_files_options){.folder = own, .answer = on_answer, .ctx = &f});
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    script_files_free(f->files);
    queue_close(&f->answers);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", f->folder);
    return system(command);
}

static const struct files_port *port(struct fixture *f)
{
    return script_files_port(f->files);
}

/* The next answer must be an error of this kind that says this, or OK and this content. */
static void expect(struct fixture *f, enum err err, const char *text)
{
    struct answer *a = queue_wait(&f->answers);
    assert_int_equal(a->err, err);
    if (err != ERR_OK) {
        if (strstr(a->message, text) == NULL) {
            fail_msg("'%s' is not in: %s", text, a->message);
        }
    } else if (text != NULL) {
        struct reader r = reader_of(slice_bytes(a->result));
        struct bytes content = read_str_or_bin(&r, UINT32_MAX);
        assert_int_equal(content.size, strlen(text));
        assert_memory_equal(content.data, text, content.size);
    } else {
        assert_int_equal(a->result.size, 0);
    }
    slice_close(&a->result);
    free(a->message);
    free(a);
}

static void expect_read(struct fixture *f, const char *path, enum err err, const char *text)
{
    port(f)->read(port(f)->ctx, ++f->calls, path);
    expect(f, err, text);
}

static void expect_write(struct fixture *f, const char *path, const char *text, enum err err,
                         const char *message)
{
    port(f)->write(port(f)->ctx, ++f->calls, path, bytes_of_string(text));
    expect(f, err, message);
}

static const char *below(const struct fixture *f, const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", f->folder, name);
    return path;
}

static void what_was_written_is_read(void **state)
{
    struct fixture *f = *state;
    expect_read(f, "state.json", ERR_NOT_FOUND, "state.json: there is no such file");
    expect_write(f, "state.json", "one", ERR_OK, NULL);
    expect_read(f, "state.json", ERR_OK, "one");
    expect_write(f, "state.json", "", ERR_OK, NULL);
    expect_read(f, "state.json", ERR_OK, "");
    expect_write(f, "a/b/c.txt", "below", ERR_OK, NULL);
    expect_read(f, below(f, "own/a/b/c.txt"), ERR_OK, "below");
    expect_write(f, below(f, "abs.txt"), "absolute", ERR_OK, NULL);
    expect_read(f, below(f, "abs.txt"), ERR_OK, "absolute");
    assert_int_equal(access(below(f, "own/state.json"), F_OK), 0);
}

static void failures_name_the_path_and_the_reason(void **state)
{
    struct fixture *f = *state;
    expect_write(f, below(f, "no/folder.txt"), "x", ERR_NOT_FOUND,
                 "no/folder.txt: there is no such folder");
    expect_write(f, "a/b", "x", ERR_OK, NULL);
    expect_read(f, "a", ERR_IO, "a: it is no plain file");
    expect_write(f, "a", "x", ERR_IO, "a: Is a directory");
    expect_write(f, "a/b/c", "x", ERR_IO, "a/b/c: Not a directory");
    assert_int_equal(mkfifo(below(f, "pipe"), 0600), 0);
    expect_read(f, below(f, "pipe"), ERR_IO, "it is no plain file");
    assert_int_equal(truncate(below(f, "own/a/b"), FILES_BYTES_MAX + 1), 0);
    expect_read(f, "a/b", ERR_TOO_LARGE, "a/b: it is larger than 4 MiB");
    expect_read(f, "/dev/zero", ERR_IO, "it is no plain file");
}

static void a_new_content_keeps_mode_and_link_and_leaves_nothing_beside(void **state)
{
    struct fixture *f = *state;
    struct stat info;
    expect_write(f, below(f, "real"), "one", ERR_OK, NULL);
    assert_int_equal(chmod(below(f, "real"), 0640), 0);
    assert_int_equal(symlink("real", below(f, "link")), 0);
    expect_write(f, below(f, "link"), "two", ERR_OK, NULL);
    expect_read(f, below(f, "real"), ERR_OK, "two");
    assert_int_equal(lstat(below(f, "link"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(below(f, "real"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640);
    char command[128];
    snprintf(command, sizeof command, "ls -A %s | wc -l | grep -qx 2", f->folder);
    assert_int_equal(system(command), 0);
}

/* Several nodes may share a folder, and, each in a container, have the same process number. */
static void what_another_node_is_writing_into_the_same_folder_is_left_alone(void **state)
{
    struct fixture *f = *state;
    char name[32];
    snprintf(name, sizeof name, ".mk-new-%u", (unsigned)getpid());
    FILE *theirs = fopen(below(f, name), "we");
    assert_non_null(theirs);
    expect_write(f, below(f, "ours"), "ours", ERR_OK, NULL);
    expect_read(f, below(f, "ours"), ERR_OK, "ours");
    assert_int_equal(access(below(f, name), F_OK), 0);
    fclose(theirs);
}

static void what_a_process_that_was_killed_has_left_is_swept(void **state)
{
    struct fixture *f = *state;
    char command[300];
    snprintf(command, sizeof command,
             "cd %s && mkdir -p own/a && touch own/.mk-new-7 own/a/.mk-new-8 own/a/b .mk-new-9 &&"
             " ln -s ../.. own/a/out",
             f->folder);
    assert_int_equal(system(command), 0);
    expect_read(f, "a/b", ERR_OK, "");
    assert_int_equal(access(below(f, "own/.mk-new-7"), F_OK), -1);
    assert_int_equal(access(below(f, "own/a/.mk-new-8"), F_OK), -1);
    assert_int_equal(access(below(f, ".mk-new-9"), F_OK), 0); /* not below the node's own folder */
    expect_read(f, ".mk-new-9", ERR_NOT_FOUND, "no such file");
}

static void calls_are_carried_out_in_order_without_waiting(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        port(f)->write(port(f)->ctx, ++f->calls, "n", bytes_of_string(text));
        port(f)->read(port(f)->ctx, ++f->calls, "n");
    }
    for (int i = 0; i < 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        expect(f, ERR_OK, NULL);
        expect(f, ERR_OK, text);
    }
}

static void after_the_stop_nothing_is_answered(void **state)
{
    struct fixture *f = *state;
    expect_write(f, "n", "x", ERR_OK, NULL);
    script_files_stop(f->files);
    port(f)->read(port(f)->ctx, ++f->calls, "n");
    assert_null(queue_pop(&f->answers));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_name_the_path_and_the_reason, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_content_keeps_mode_and_link_and_leaves_nothing_beside,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_another_node_is_writing_into_the_same_folder_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_process_that_was_killed_has_left_is_swept, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(calls_are_carried_out_in_order_without_waiting, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(after_the_stop_nothing_is_answered, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
