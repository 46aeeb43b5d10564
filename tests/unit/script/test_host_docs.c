/* What is written for users is true: the examples of lua/README.md run, and the stubs declare what
 * there is. Runs in the root of the source tree. */
#include "fake_files.h"
#include "fake_http.h"
#include "fake_processes.h"
#include "net/system_zones.h"

static char *read_whole(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fail_msg("%s cannot be read", path);
    }
    struct buffer text = {0};
    size_t got;
    do {
        uint8_t *room = buffer_reserve(&text, 4096);
        got = fread(room, 1, 4096, file);
        text.size += got;
    } while (got > 0);
    fclose(file);
    char *copy = alloc_string(buffer_text(&text));
    buffer_close(&text);
    return copy;
}

/* A node that says yes. */
static void agree(struct fixture *f, struct script_request *request)
{
    struct buffer result = {0};
    if (strcmp(request->method, "query") == 0) {
        write_map(&result, 3);
        write_text(&result, "value");
        write_u64(&result, 10);
        write_text(&result, "version");
        write_u64(&result, 3);
        write_text(&result, "items");
        write_array(&result, 0);
    } else {
        write_map(&result, 1);
        write_text(&result, "version");
        write_u64(&result, 4);
    }
    if (strcmp(request->method, "commit_resume") != 0) {
        script_host_reply(f->host, request->id, ERR_OK, NULL, slice_copy(buffer_bytes(&result)));
    }
    buffer_close(&result);
}

/* Every port there is. */
struct ports {
    struct process_port processes;
    struct http_port http;
    struct files_port files;
};

/* On a leader. */
static void open_with_all(struct fixture *f, struct ports *ports)
{
    fixture_init(f);
    ports->processes = fake_processes(f);
    ports->http = fake_http(f);
    ports->files = fake_files(f);
    struct script_options options = fixture_options(f);
    options.zones = system_zones();
    options.processes = &ports->processes;
    options.http = &ports->http;
    options.files = &ports->files;
    f->host = script_host_new(&options);
    f->answer = agree;
    lead(f, 3, 17, 0);
}

static void run_example(const char *source, int number)
{
    struct fixture f;
    struct ports ports;
    open_with_all(&f, &ports);
    char name[32];
    snprintf(name, sizeof name, "example %d", number);
    struct script_app app = {.name = "app", .path = name, .source = source};
    struct why why = {0};
    if (script_host_load(f.host, &app, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    run_for(&f, 100);
    post(&f, "leader_elected", "term", 3);
    run_for(&f, 3000);
    assert_silent(&f, "script error");
    fixture_close(&f);
}

static void the_examples_of_the_guide_run(void **state)
{
    (void)state;
    char *guide = read_whole("lua/README.md");
    int count = 0;
    char *at = guide;
    while ((at = strstr(at, "```lua\n")) != NULL) {
        at += strlen("```lua\n");
        char *end = strstr(at, "\n```");
        assert_non_null(end);
        *end = 0;
        run_example(at, ++count);
        at = end + 1;
    }
    assert_true(count >= 6);
    free(guide);
}

static void the_stubs_declare_what_there_is(void **state)
{
    (void)state;
    char *stubs = read_whole("lua/moonkeeper/meta/moonkeeper.lua");
    char *luacheckrc = read_whole("lua/moonkeeper.luacheckrc");
    char *test = read_whole("tests/unit/script/test_stubs.lua");
    struct buffer config = {0};
    write_map(&config, 2);
    write_text(&config, "stubs");
    write_text(&config, stubs);
    write_text(&config, "luacheckrc");
    write_text(&config, luacheckrc);
    struct fixture f;
    struct ports ports;
    open_with_all(&f, &ports);
    struct script_app app = {
        .name = "app", .path = "test_stubs.lua", .source = test, .config = buffer_bytes(&config)};
    struct why why = {0};
    if (script_host_load(f.host, &app, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    run_for(&f, 100);
    assert_silent(&f, "NO");
    assert_silent(&f, "script error");
    assert_said(&f, "all is compared");
    buffer_close(&config);
    free(stubs);
    free(luacheckrc);
    free(test);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_guide_run),
        cmocka_unit_test(the_stubs_declare_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
