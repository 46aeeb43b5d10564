/* HTTP answers and requests as MessagePack, between scripts and whoever carries them. */
#ifndef MK_WIRE_HTTP_ANSWER_H
#define MK_WIRE_HTTP_ANSWER_H

#include "wire/reader.h"
#include "wire/writer.h"

/* [status, [name, value, name, value, ...], body] */
struct http_answer {
    int status;
    struct bytes fields; /* the inner array, encoded; empty: none */
    struct bytes body;
};

void write_http_answer(struct buffer *out, const struct http_answer *answer);
/* Views into the bytes. Errors: INVALID, TRUNCATED. */
enum err read_http_answer(struct bytes from, struct http_answer *out);
/* How many fields there are; *out reads them: a name and a value (str or bin) each. */
uint32_t http_answer_fields(const struct http_answer *answer, struct reader *out);

#endif
