#include "sim/history_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/sim_map.h"

enum event_type { EVENT_INVOKE, EVENT_OK, EVENT_FAIL, EVENT_INFO };

/* What one line says. The bytes are those of the line, or of the parser's scratch. */
struct event {
    bool skip;
    bool has_process, has_type, has_function;
    uint64_t process;
    enum event_type type;
    enum history_function function;
    struct bytes key, value, expected;
    bool has_pair; /* the value was [expected value] */
};

struct parser {
    struct history *history;
    struct buffer scratch; /* strings of one line without their escapes */
    struct sim_map open;   /* process -> its operation + 1, or 0 between two */
    uint64_t line;
    const char *at, *end; /* what is left of the line */
    struct why *why;
};

/* ---- words ----------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == ',' || c == '\r';
}

static void skip_blanks(struct parser *p)
{
    while (p->at < p->end && is_blank(*p->at)) {
        p->at++;
    }
}

/* Step over c if it comes next. */
static bool take(struct parser *p, char c)
{
    skip_blanks(p);
    if (p->at == p->end || *p->at != c) {
        return false;
    }
    p->at++;
    return true;
}

static enum err malformed(const struct parser *p, const char *what)
{
    return err_why(p->why, ERR_INVALID, "line %llu: %s", (unsigned long long)p->line, what);
}

/* A string: without its quotes and escapes. */
static enum err take_string(struct parser *p, struct bytes *out)
{
    /* Room for a whole line was made before: what was given out does not move. */
    uint8_t *start = p->scratch.data + p->scratch.size;
    size_t size = 0;
    for (p->at++; p->at < p->end && *p->at != '"'; p->at++) {
        char c = *p->at;
        if (c == '\\') {
            if (++p->at == p->end) {
                break;
            }
            c = *p->at == 'n' ? '\n' : *p->at == 't' ? '\t' : *p->at == 'r' ? '\r' : *p->at;
        }
        start[size++] = (uint8_t)c;
    }
    if (p->at == p->end) {
        return malformed(p, "a string does not end");
    }
    p->at++;
    p->scratch.size += size;
    *out = bytes_of(start, size);
    return ERR_OK;
}

/* A number, a keyword, a symbol or a string; nil is nil. */
static enum err take_word(struct parser *p, struct bytes *out)
{
    skip_blanks(p);
    if (p->at < p->end && *p->at == '"') {
        return take_string(p, out);
    }
    const char *start = p->at;
    while (p->at < p->end && !is_blank(*p->at) && strchr("[]{}\"", *p->at) == NULL) {
        p->at++;
    }
    if (p->at == start) {
        return malformed(p, "a value is missing");
    }
    *out = bytes_of(start, (size_t)(p->at - start));
    if (bytes_is(*out, "nil")) {
        *out = bytes_of(NULL, 0);
    }
    return ERR_OK;
}

/* A word, or two in brackets. */
static enum err take_value(struct parser *p, struct event *event)
{
    if (!take(p, '[')) {
        return take_word(p, &event->value);
    }
    event->has_pair = true;
    enum err e = take_word(p, &event->expected);
    if (e == ERR_OK) {
        e = take_word(p, &event->value);
    }
    return e == ERR_OK && !take(p, ']') ? malformed(p, "a pair of values does not end") : e;
}

/* ---- what the words of both formats mean ----------------------------------------------------- */

static enum err read_process(const struct parser *p, struct bytes word, struct event *event)
{
    if (bytes_is(word, ":nemesis")) {
        event->skip = true;
        return ERR_OK;
    }
    uint64_t n = 0;
    for (size_t i = 0; i < word.size; i++) {
        if (word.data[i] < '0' || word.data[i] > '9' || i >= 18) {
            return malformed(p, "the process is no number");
        }
        n = 10 * n + (uint64_t)(word.data[i] - '0');
    }
    event->process = n;
    event->has_process = true;
    return word.size > 0 ? ERR_OK : malformed(p, "the process is no number");
}

static enum err read_type(const struct parser *p, struct bytes word, struct event *event)
{
    static const char *const names[] = {":invoke", ":ok", ":fail", ":info"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (bytes_is(word, names[i])) {
            event->type = (enum event_type)i;
            event->has_type = true;
            return ERR_OK;
        }
    }
    return malformed(p, "the type of an event is :invoke, :ok, :fail or :info");
}

static enum err read_function(const struct parser *p, struct bytes word, struct event *event)
{
    static const struct {
        const char *name;
        enum history_function function;
    } names[] = {{":read", HISTORY_READ}, {":get", HISTORY_READ}, {":write", HISTORY_WRITE},
                 {":put", HISTORY_WRITE}, {":cas", HISTORY_CAS},  {":append", HISTORY_APPEND}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (bytes_is(word, names[i].name)) {
            event->function = names[i].function;
            event->has_function = true;
            return ERR_OK;
        }
    }
    return malformed(p, "a function is :read, :write, :cas, :get, :put or :append");
}

/* ---- the two formats ------------------------------------------------------------------------- */

static const char jepsen_prefix[] = "jepsen.util - ";

static enum err parse_jepsen(struct parser *p, struct event *event)
{
    const char *dash =
        memmem(p->at, (size_t)(p->end - p->at), jepsen_prefix, sizeof jepsen_prefix - 1);
    if (dash == NULL) {
        return malformed(p, "neither a line of Jepsen's log nor an EDN map");
    }
    p->at = dash + sizeof jepsen_prefix - 1;
    struct bytes word = {0};
    enum err e = take_word(p, &word);
    if (e == ERR_OK) {
        e = read_process(p, word, event);
    }
    if (e != ERR_OK || event->skip) {
        return e;
    }
    if ((e = take_word(p, &word)) != ERR_OK || (e = read_type(p, word, event)) != ERR_OK ||
        (e = take_word(p, &word)) != ERR_OK || (e = read_function(p, word, event)) != ERR_OK ||
        (e = take_value(p, event)) != ERR_OK) {
        return e;
    }
    skip_blanks(p);
    return p->at == p->end ? ERR_OK : malformed(p, "something follows the value");
}

/* Over the value of a field that is not ours (:time, :error ...), whatever it holds. */
static enum err skip_form(struct parser *p)
{
    struct bytes ignored = {0};
    uint32_t depth = 0;
    do {
        enum err e = ERR_OK;
        skip_blanks(p);
        if (p->at < p->end && (*p->at == '[' || *p->at == '{')) {
            p->at++;
            depth++;
        } else if (depth > 0 && p->at < p->end && (*p->at == ']' || *p->at == '}')) {
            p->at++;
            depth--;
        } else if ((e = take_word(p, &ignored)) != ERR_OK) {
            return e;
        }
    } while (depth > 0);
    return ERR_OK;
}

static enum err take_field(struct parser *p, struct event *event)
{
    struct bytes name = {0}, word = {0};
    enum err e = take_word(p, &name);
    if (e != ERR_OK) {
        return e;
    }
    if (bytes_is(name, ":value")) {
        return take_value(p, event);
    }
    if (bytes_is(name, ":key")) {
        return take_word(p, &event->key);
    }
    if (!bytes_is(name, ":process") && !bytes_is(name, ":type") && !bytes_is(name, ":f")) {
        return skip_form(p);
    }
    e = take_word(p, &word);
    if (e != ERR_OK) {
        return e;
    }
    return bytes_is(name, ":process") ? read_process(p, word, event)
           : bytes_is(name, ":type")  ? read_type(p, word, event)
                                      : read_function(p, word, event);
}

static enum err parse_edn(struct parser *p, struct event *event)
{
    p->at++;
    while (!take(p, '}')) {
        skip_blanks(p);
        if (p->at == p->end) {
            return malformed(p, "the map does not end");
        }
        enum err e = take_field(p, event);
        if (e != ERR_OK || event->skip) {
            return e;
        }
    }
    skip_blanks(p);
    if (p->at != p->end) {
        return malformed(p, "something follows the map");
    }
    if (!event->has_process || !event->has_type || !event->has_function) {
        return malformed(p, "an event has a :process, a :type and an :f");
    }
    return ERR_OK;
}

/* ---- events ---------------------------------------------------------------------------------- */

static enum err too_large(const struct parser *p, enum err e)
{
    return err_why(p->why, e, "line %llu: more operations or longer values than are allowed",
                   (unsigned long long)p->line);
}

static enum err add_invocation(struct parser *p, const struct event *event)
{
    struct history_call call = {
        .client = event->process,
        .function = event->function,
        .key = event->key,
        .value = event->value,
        .expected = event->expected,
        .place = p->line,
    };
    if ((event->function == HISTORY_CAS) != event->has_pair) {
        return malformed(p, "[expected value] belongs to :cas, and :cas to it");
    }
    struct sim_key process = {.a = event->process};
    uint64_t *open = sim_map_get(&p->open, process);
    if (open != NULL && *open != 0) {
        return malformed(p, "the process has not returned from its last operation");
    }
    uint32_t operation;
    enum err e = history_invoke(p->history, &call, &operation);
    if (e != ERR_OK) {
        return too_large(p, e);
    }
    if (open == NULL) {
        sim_map_put(&p->open, process, (uint64_t)operation + 1);
    } else {
        *open = (uint64_t)operation + 1;
    }
    return ERR_OK;
}

static enum err add_return(struct parser *p, const struct event *event)
{
    static const enum history_outcome outcomes[] = {
        [EVENT_OK] = HISTORY_OK, [EVENT_FAIL] = HISTORY_FAILED, [EVENT_INFO] = HISTORY_UNKNOWN};
    uint64_t *open = sim_map_get(&p->open, (struct sim_key){.a = event->process});
    if (open == NULL || *open == 0) {
        return malformed(p, "the process returns from an operation that it did not begin");
    }
    if (event->function == HISTORY_READ && event->has_pair) {
        return malformed(p, "a read returns one value");
    }
    uint32_t operation = (uint32_t)(*open - 1), count;
    *open = 0;
    if (history_operations(p->history, &count)[operation].function != event->function) {
        return malformed(p, "the process began another function than it returns from");
    }
    enum err e =
        history_return(p->history, operation, outcomes[event->type], event->value, p->line);
    ASSERT(e != ERR_INVALID);
    return e == ERR_OK ? ERR_OK : too_large(p, e);
}

/* p->at and p->end are those of one line. */
static enum err parse_line(struct parser *p, bool *has_format, enum history_format *format)
{
    skip_blanks(p);
    if (p->at == p->end) {
        return ERR_OK;
    }
    enum history_format this_format = *p->at == '{' ? HISTORY_EDN_MAPS : HISTORY_JEPSEN_LOG;
    if (*has_format && this_format != *format) {
        return malformed(p, "the lines before were in another format");
    }
    buffer_clear(&p->scratch);
    buffer_reserve(&p->scratch, (size_t)(p->end - p->at));
    struct event event = {0};
    enum err e = this_format == HISTORY_EDN_MAPS ? parse_edn(p, &event) : parse_jepsen(p, &event);
    if (e != ERR_OK || event.skip) {
        return e;
    }
    *has_format = true;
    *format = this_format;
    return event.type == EVENT_INVOKE ? add_invocation(p, &event) : add_return(p, &event);
}

enum err history_parse(struct bytes text, struct history **out, enum history_format *format,
                       struct why *why)
{
    struct parser p = {.history = history_new("line"), .why = why};
    const char *at = (const char *)text.data, *end = at + text.size;
    bool has_format = false;
    enum err e = ERR_OK;
    while (e == ERR_OK && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        p.line++;
        p.at = at;
        p.end = newline != NULL ? newline : end;
        at = newline != NULL ? newline + 1 : end;
        e = parse_line(&p, &has_format, format);
    }
    if (e == ERR_OK && !has_format) {
        e = err_why(why, ERR_INVALID, "there is no event in it");
    }
    if (e == ERR_OK) {
        *out = p.history;
    } else {
        history_free(p.history);
    }
    buffer_close(&p.scratch);
    sim_map_close(&p.open);
    return e;
}
