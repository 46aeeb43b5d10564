#include "script/machine_source.h"

#include <stdbool.h>
#include <string.h>

/* Where the scan is; all of Lua's tokens that can hide a '#' are passed over whole. */
struct scan {
    const uint8_t *at;
    const uint8_t *end;
    unsigned line;
};

static bool is_name_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static void step(struct scan *s)
{
    if (*s->at == '\n') {
        s->line++;
    }
    s->at++;
}

/* At '[': how many '=' are in the opening of a long bracket; -1 if this is none. */
static int long_bracket_level(const struct scan *s)
{
    const uint8_t *at = s->at + 1;
    int level = 0;
    while (at < s->end && *at == '=') {
        level++;
        at++;
    }
    return at < s->end && *at == '[' ? level : -1;
}

static void pass_long_bracket(struct scan *s, int level)
{
    s->at += level + 2;
    for (; s->at < s->end; step(s)) {
        if (*s->at != ']') {
            continue;
        }
        const uint8_t *close = s->at + 1;
        int equals = 0;
        while (close < s->end && *close == '=' && equals < level) {
            close++;
            equals++;
        }
        if (equals == level && close < s->end && *close == ']') {
            s->at = close + 1;
            return;
        }
    }
}

static void pass_comment(struct scan *s)
{
    s->at += 2;
    if (s->at < s->end && *s->at == '[') {
        int level = long_bracket_level(s);
        if (level >= 0) {
            pass_long_bracket(s, level);
            return;
        }
    }
    while (s->at < s->end && *s->at != '\n' && *s->at != '\r') {
        s->at++;
    }
}

static void pass_string(struct scan *s)
{
    uint8_t quote = *s->at++;
    while (s->at < s->end && *s->at != quote) {
        if (*s->at == '\\' && s->end - s->at > 1) {
            s->at++; /* whatever is escaped, a quote above all, is not the end */
        } else if (*s->at == '\n') {
            return; /* unfinished: the compiler complains */
        }
        step(s);
    }
    if (s->at < s->end) {
        s->at++;
    }
}

static struct bytes pass_name(struct scan *s)
{
    const uint8_t *start = s->at;
    while (s->at < s->end && is_name_byte(*s->at)) {
        s->at++;
    }
    return bytes_of(start, (size_t)(s->at - start));
}

/* Pass the next token. replacement is set if it is to be said differently. */
static enum err pass_token(struct scan *s, const char **replacement, struct why *why)
{
    uint8_t c = *s->at;
    uint8_t following = s->end - s->at > 1 ? s->at[1] : 0;
    if (c == '-' && following == '-') {
        pass_comment(s);
    } else if (c == '"' || c == '\'') {
        pass_string(s);
    } else if (c == '[' && long_bracket_level(s) >= 0) {
        pass_long_bracket(s, long_bracket_level(s));
    } else if (is_name_byte(c)) {
        struct bytes name = pass_name(s);
        if (bytes_is(name, "_ENV") || bytes_is(name, MACHINE_LENGTH_NAME)) {
            return err_why(why, ERR_INVALID, "line %u: the name %.*s is not available in a machine",
                           s->line, (int)name.size, (const char *)name.data);
        }
    } else if (c == '^') {
        return err_why(why, ERR_INVALID,
                       "line %u: ^ is not available in a machine: its last bit differs between "
                       "processors; multiply, or shift integers (1 << n)",
                       s->line);
    } else {
        *replacement = c == '#' ? MACHINE_LENGTH_NAME "^" : NULL;
        step(s);
    }
    return ERR_OK;
}

enum err machine_source_translate(struct bytes source, struct buffer *out, struct why *why)
{
    /* A local variable is found faster than a global one. On the first line, so that lines stay. */
    const char *prologue = "local " MACHINE_LENGTH_NAME " <const> = " MACHINE_LENGTH_NAME " ";
    buffer_add_bytes(out, bytes_of_string(prologue));
    struct scan s = {.at = source.data, .end = source.data + source.size, .line = 1};
    while (s.at < s.end) {
        const uint8_t *start = s.at;
        const char *replacement = NULL;
        enum err e = pass_token(&s, &replacement, why);
        if (e != ERR_OK) {
            return e;
        }
        if (replacement != NULL) {
            buffer_add(out, replacement, strlen(replacement));
        } else {
            buffer_add(out, start, (size_t)(s.at - start));
        }
    }
    return ERR_OK;
}
