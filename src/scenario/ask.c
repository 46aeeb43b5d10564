#include "scenario/ask.h"

#include <stdarg.h>
#include <stdlib.h>

#include "wire/reader.h"

void ask_answer(struct ask *a, enum err err, const char *message, struct bytes result)
{
    script_host_reply(a->driver->host, a->id, err, message, slice_copy(result));
    free(a);
}

void ask_answer_nothing(struct ask *a)
{
    ask_answer(a, ERR_OK, NULL, (struct bytes){0});
}

void ask_answer_buffer(struct ask *a, struct buffer *out)
{
    ask_answer(a, ERR_OK, NULL, buffer_bytes(out));
    buffer_close(out);
}

void ask_fail(struct ask *a, enum err err, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ask_answer(a, err, text, (struct bytes){0});
}

void ask_fail_node(struct ask *a, uint32_t node, enum err err, const char *message)
{
    ask_fail(a, err, "n%u: %s", node,
             message != NULL && message[0] != 0 ? message : err_message(err));
}

void ask_pass_on(void *ctx, const struct node_reply *reply)
{
    struct ask *a = ctx;
    if (reply->err != ERR_OK) {
        ask_fail_node(a, a->node, reply->err, reply->message);
    } else {
        ask_answer(a, ERR_OK, NULL, reply->result);
    }
}

bool ask_next_is_nil(struct ask *a)
{
    return reader_peek(&a->params) == WIRE_NIL || reader_peek(&a->params) == WIRE_NONE;
}

void ask_next_text(struct ask *a, char *out, size_t capacity)
{
    out[0] = 0;
    if (ask_next_is_nil(a)) {
        read_skip(&a->params);
    } else {
        read_text(&a->params, out, capacity);
    }
}

uint32_t ask_next_node(struct ask *a)
{
    uint64_t node = read_u64(&a->params);
    const struct target_options *o = &a->cluster->options;
    if (a->params.err == ERR_OK && (node < 1 || node > o->nodes + o->spares)) {
        reader_fail(&a->params, ERR_NOT_FOUND);
    }
    return a->params.err == ERR_OK ? (uint32_t)node : 0;
}

bool ask_next_fields(struct ask *a, ask_take_field *take, void *ctx, const char *known)
{
    struct reader *r = &a->params;
    uint32_t count = reader_peek(r) == WIRE_ARRAY ? read_array(r) : read_map(r);
    for (uint32_t i = 0; i < count && r->err == ERR_OK; i++) {
        struct bytes key = read_str_or_bin(r, ASK_NAME_MAX);
        if (r->err != ERR_OK || !take(r, key, ctx)) {
            ask_fail(a, ERR_INVALID, "unknown option \"%.*s\"; there are %s", (int)key.size,
                     (const char *)key.data, known);
            return false;
        }
    }
    if (r->err != ERR_OK) {
        ask_fail(a, ERR_INVALID, "an option is of the wrong type; there are %s", known);
        return false;
    }
    return true;
}

uint64_t read_ms_as_us(struct reader *r)
{
    double ms = read_f64(r);
    if (!(ms >= 0 && ms <= 1e9)) {
        reader_fail(r, ERR_INVALID);
        return 0;
    }
    return (uint64_t)(ms * 1000);
}
