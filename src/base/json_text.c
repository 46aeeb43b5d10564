#include "base/json_text.h"

#include <string.h>

/* How many bytes from at on are ASCII. */
static size_t ascii_size(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *start = at;
    uint64_t eight[4];
    while ((size_t)(end - at) >= sizeof eight) {
        memcpy(eight, at, sizeof eight);
        if (((eight[0] | eight[1] | eight[2] | eight[3]) & 0x8080808080808080u) != 0) {
            break;
        }
        at += sizeof eight;
    }
    while ((size_t)(end - at) >= sizeof eight[0]) {
        memcpy(eight, at, sizeof eight[0]);
        if ((eight[0] & 0x8080808080808080u) != 0) {
            break;
        }
        at += sizeof eight[0];
    }
    while (at < end && *at < 0x80) {
        at++;
    }
    return (size_t)(at - start);
}

bool text_is_utf8(struct bytes text)
{
    const uint8_t *at = text.data;
    const uint8_t *end = text.data + text.size;
    while (at < end) {
        at += ascii_size(at, end);
        if (at == end) {
            return true;
        }
        uint8_t lead = *at++;
        /* The range of the second byte excludes overlong forms, surrogates and > U+10FFFF. */
        int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (lead < 0xc2 || lead > 0xf4 || end - at < more || at[0] < low || at[0] > high) {
            return false;
        }
        for (int i = 1; i < more; i++) {
            if ((at[i] & 0xc0) != 0x80) {
                return false;
            }
        }
        at += more;
    }
    return true;
}

static void add_escaped(struct buffer *out, uint8_t c)
{
    static const char shorts[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                  ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    if (c < sizeof shorts && shorts[c] != 0) {
        buffer_add_u8(out, '\\');
        buffer_add_u8(out, (uint8_t)shorts[c]);
    } else {
        buffer_add_format(out, "\\u%04x", c);
    }
}

/* The length of the UTF-8 sequence at text, 0 if it is none. */
static size_t sequence_size(struct bytes text)
{
    uint8_t first = text.data[0];
    size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    return size <= text.size && text_is_utf8(bytes_of(text.data, size)) ? size : 0;
}

/* How many bytes at the beginning of text stand in JSON as they are. valid: all of it is UTF-8. */
static size_t plain_size(struct bytes text, bool valid)
{
    size_t size = 0;
    while (size < text.size) {
        uint8_t c = text.data[size];
        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f || (c >= 0x80 && !valid)) {
            break;
        }
        size++;
    }
    return size;
}

void json_add_text(struct buffer *out, struct bytes text)
{
    bool valid = text_is_utf8(text);
    buffer_add_u8(out, '"');
    while (text.size > 0) {
        size_t size = plain_size(text, valid);
        if (size > 0) {
            buffer_add(out, text.data, size);
        } else if (text.data[0] < 0x80) {
            size = 1;
            add_escaped(out, text.data[0]);
        } else if ((size = sequence_size(text)) > 0) {
            buffer_add(out, text.data, size);
        } else {
            size = 1;
            buffer_add_format(out, "\\ufffd");
        }
        text = bytes_of(text.data + size, text.size - size);
    }
    buffer_add_u8(out, '"');
}
