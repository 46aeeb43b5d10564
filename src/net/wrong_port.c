#include "net/wrong_port.h"

#include <string.h>
#include <sys/socket.h>

#include "wire/rpc.h"
#include "wire/writer.h"

enum speech { SPEECH_UNKNOWN, SPEECH_TLS, SPEECH_HTTP, SPEECH_RPC, SPEECH_NODE };

static enum speech speech_of(struct bytes first)
{
    if (first.size < 2) {
        return SPEECH_UNKNOWN;
    }
    uint8_t a = first.data[0], b = first.data[1];
    if (a == 0x16 && b == 0x03) {
        return SPEECH_TLS;
    }
    if (a >= 'A' && a <= 'Z' && b >= 'A' && b <= 'Z') {
        return SPEECH_HTTP;
    }
    if ((a == 0x94 && b == 0x00) || (a == 0x93 && b == 0x02)) {
        return SPEECH_RPC;
    }
    return a == 0 && b == 0 ? SPEECH_NODE : SPEECH_UNKNOWN; /* the length of a short frame */
}

const char *wrong_port_guess(struct bytes first, const char *expected)
{
    switch (speech_of(first)) {
    case SPEECH_TLS:
        return "it speaks TLS";
    case SPEECH_HTTP:
        return "it may speak HTTP, which has a port of its own";
    case SPEECH_RPC:
        return "it may be a client, and clients have a port of their own";
    case SPEECH_NODE:
        return "it may be another node, and nodes have a port of their own";
    case SPEECH_UNKNOWN:
        break;
    }
    return expected;
}

static void write_http(struct buffer *out, const char *sentence)
{
    buffer_add_format(out,
                      "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
                      "Content-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
                      strlen(sentence) + 1, sentence);
}

static void write_rpc(struct buffer *out, const char *sentence)
{
    struct buffer params = {0};
    write_array(&params, 1);
    write_text(&params, sentence);
    rpc_write_notify(out, bytes_of_string(WRONG_PORT_METHOD), buffer_bytes(&params));
    buffer_close(&params);
}

void wrong_port_tell(int fd, struct bytes first, const char *sentence)
{
    struct buffer out = {0};
    switch (speech_of(first)) {
    case SPEECH_HTTP:
        write_http(&out, sentence);
        break;
    case SPEECH_RPC:
        write_rpc(&out, sentence);
        break;
    default:
        return;
    }
    (void)send(fd, out.data, out.size, MSG_NOSIGNAL);
    buffer_close(&out);
}
