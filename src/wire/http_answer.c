#include "wire/http_answer.h"

enum { STATUS_MAX = 999 };

void write_http_answer(struct buffer *out, const struct http_answer *answer)
{
    write_array(out, 3);
    write_u64(out, (uint64_t)answer->status);
    if (answer->fields.size > 0) {
        write_raw(out, answer->fields);
    } else {
        write_array(out, 0);
    }
    write_str(out, answer->body);
}

enum err read_http_answer(struct bytes from, struct http_answer *out)
{
    struct reader r = reader_of(from);
    read_array_of(&r, 3);
    out->status = (int)read_u32_max(&r, STATUS_MAX);
    out->fields = read_raw(&r);
    out->body = read_str_or_bin(&r, UINT32_MAX);
    return reader_end(&r);
}

uint32_t http_answer_fields(const struct http_answer *answer, struct reader *out)
{
    *out = reader_of(answer->fields);
    return answer->fields.size > 0 ? read_array(out) / 2 : 0;
}
