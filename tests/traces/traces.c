/* Runs a trace: a text of commands, each followed by everything that comes of it.
 *
 *     raft_traces FILE              compare; on a difference name the first line, exit 1
 *     raft_traces --rewrite FILE... write down what comes of it now */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cluster.h"
#include "command.h"

static bool read_file(const char *path, struct buffer *out)
{
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        perror(path);
        return false;
    }
    char chunk[4096];
    size_t size;
    while ((size = fread(chunk, 1, sizeof chunk, f)) > 0) {
        buffer_add(out, chunk, size);
    }
    return fclose(f) == 0;
}

static bool write_file(const char *path, const struct buffer *from)
{
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        perror(path);
        return false;
    }
    bool ok = fwrite(from->data, 1, from->size, f) == from->size;
    return fclose(f) == 0 && ok;
}

/* Commands start with "> ", what comes of them is indented; all else is kept as it is. */
static void replay(const char *text, struct buffer *out)
{
    struct cluster *c = NEW(struct cluster);
    c->out = out;
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        char line[512];
        (void)snprintf(line, sizeof line, "%.*s", (int)length, text);
        text += length + (text[length] == '\n');
        if (strncmp(line, "    ", 4) == 0) {
            continue;
        }
        buffer_add_format(out, "%s\n", line);
        if (strncmp(line, "> ", 2) == 0) {
            command_run(c, line + 2);
        }
    }
    cluster_close(c);
    free(c);
}

static int compare(const char *path, const char *expected, const char *actual)
{
    for (int number = 1; *expected != '\0' || *actual != '\0'; number++) {
        size_t wanted = strcspn(expected, "\n");
        size_t got = strcspn(actual, "\n");
        if (wanted != got || strncmp(expected, actual, wanted) != 0) {
            (void)fprintf(stderr, "%s:%d:\n  expected: %.*s\n  got:      %.*s\n", path, number,
                          (int)wanted, expected, (int)got, actual);
            return 1;
        }
        expected += wanted + (expected[wanted] == '\n');
        actual += got + (actual[got] == '\n');
    }
    return 0;
}

static int run_file(const char *path, bool rewrite)
{
    struct buffer text = {0};
    struct buffer out = {0};
    int status = 1;
    if (read_file(path, &text)) {
        replay(buffer_text(&text), &out);
        if (rewrite) {
            status = write_file(path, &out) ? 0 : 1;
        } else {
            status = compare(path, buffer_text(&text), buffer_text(&out));
        }
    }
    buffer_close(&text);
    buffer_close(&out);
    return status;
}

int main(int argc, char **argv)
{
    bool rewrite = argc > 1 && strcmp(argv[1], "--rewrite") == 0;
    int status = 0;
    for (int i = rewrite ? 2 : 1; i < argc; i++) {
        status |= run_file(argv[i], rewrite);
    }
    return status;
}
