#include "cli/log_line.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct log_line {
    json_t *object;
};

struct log_line *log_line_parse(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    if (!json_is_object(json) || !json_is_string(json_object_get(json, "msg"))) {
        json_decref(json);
        return NULL;
    }
    struct log_line *line = NEW(struct log_line);
    line->object = json;
    return line;
}

void log_line_free(struct log_line *line)
{
    if (line != NULL) {
        json_decref(line->object);
        free(line);
    }
}

const char *log_line_text(const struct log_line *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line->object, key));
    return text != NULL ? text : "";
}

long long log_line_number(const struct log_line *line, const char *key)
{
    return json_integer_value(json_object_get(line->object, key));
}

/* Plain enough to stand without quotes; control characters never are. */
static bool is_plain(const char *text)
{
    const char *c = text;
    while ((unsigned char)*c > ' ' && *c != '"' && *c != '=' && *c != 0x7f) {
        c++;
    }
    return c > text && *c == 0;
}

static void print_value(const json_t *value, FILE *out)
{
    const char *text = json_string_value(value);
    if (text != NULL && is_plain(text)) {
        fputs(text, out);
    } else {
        json_dumpf(value, out, JSON_ENCODE_ANY | JSON_COMPACT);
    }
}

static bool is_one_of(const char *key, const char *const *names)
{
    while (names != NULL && *names != NULL && strcmp(key, *names) != 0) {
        names++;
    }
    return names != NULL && *names != NULL;
}

/* A traceback has a line for each call: below the message, indented. */
static void print_traceback(const char *text, const char *dim, const char *off, FILE *out)
{
    while (*text != 0) {
        size_t size = strcspn(text, "\n");
        const char *call = text + strspn(text, "\t");
        if (*text == '\t' && strncmp(call, "[C]: in ?", 9) != 0) {
            fprintf(out, "%s    %.*s%s\n", dim, (int)(size - (size_t)(call - text)), call, off);
        }
        text += size + (text[size] == '\n');
    }
}

void log_line_print(const struct log_line *line, const char *node, const char *name_colour,
                    const char *const *left_out, FILE *out)
{
    static const char *const own[] = {"ts", "level", "msg", "node", "traceback", NULL};
    bool colour = name_colour != NULL;
    const char *ts = log_line_text(line, "ts"), *level = log_line_text(line, "level");
    const char *dim = colour ? "\033[2m" : "", *off = colour ? "\033[0m" : "";
    bool bad = strcmp(level, "error") == 0, grave = bad || strcmp(level, "warn") == 0;
    const char *grave_colour = !colour ? "" : bad ? "\033[31m" : "\033[33m";

    fprintf(out, "%s%.12s%s %s%s%s ", dim, strlen(ts) > 11 ? ts + 11 : ts, off,
            colour ? name_colour : "", node, off);
    if (grave) {
        fprintf(out, "%s%s%s ", grave_colour, level, off);
    }
    fputs(log_line_text(line, "msg"), out);
    const char *key;
    json_t *value;
    json_object_foreach(line->object, key, value)
    {
        if (!is_one_of(key, own) && !is_one_of(key, left_out)) {
            fprintf(out, " %s%s=%s", dim, key, off);
            print_value(value, out);
        }
    }
    fputc('\n', out);
    print_traceback(log_line_text(line, "traceback"), dim, off, out);
}
