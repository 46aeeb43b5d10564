#include "net/rpc_client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/loop.h"
#include "net/socket.h"
#include "net/wrong_port.h"
#include "wire/reader.h"

enum { READ_BYTES = 64 * 1024, MESSAGE_BYTES_MAX = 256 << 20 };

struct rpc_client {
    int fd;
    int give_up_fd; /* -1: none */
    char address[ADDRESS_TEXT_MAX];
    struct clock_port clock;
    uint32_t next_msgid;
    struct buffer out;
    struct buffer in;
    size_t in_used; /* bytes of in that belong to messages already handed out */
    struct rpc_scan scan;
    bool wrong_port; /* what answers there is no client port: it has executed nothing */
};

/* ---- waiting ---- */

static uint64_t deadline_after(const struct rpc_client *c, uint64_t timeout_us)
{
    uint64_t now_us = clock_now_us(&c->clock);
    return timeout_us > UINT64_MAX - now_us ? UINT64_MAX : now_us + timeout_us;
}

static enum err wait_for(struct rpc_client *c, short events, uint64_t deadline_us, struct why *why)
{
    for (;;) {
        uint64_t now_us = clock_now_us(&c->clock);
        uint64_t left_us = deadline_us > now_us ? deadline_us - now_us : 0;
        struct timespec left = {.tv_sec = (time_t)(left_us / 1000000),
                                .tv_nsec = (long)(left_us % 1000000) * 1000};
        bool forever = deadline_us == UINT64_MAX;
        struct pollfd p[] = {{.fd = c->fd, .events = events},
                             {.fd = c->give_up_fd, .events = POLLIN}};
        int ready = ppoll(p, 2, forever ? NULL : &left, NULL);
        if (ready > 0) {
            return p[0].revents != 0 ? ERR_OK : err_why(why, ERR_CANCELLED, "it was given up");
        }
        if (ready == 0) {
            return err_why(why, ERR_TIMEOUT, "no answer from %s in time", c->address);
        }
        if (errno != EINTR) {
            return err_why(why, ERR_IO, "poll: %s", strerror(errno));
        }
    }
}

/* ---- connecting ---- */

enum err rpc_client_open(const struct address *address, uint64_t timeout_us,
                         struct rpc_client **out, struct why *why)
{
    struct rpc_client *c = NEW(struct rpc_client);
    c->clock = loop_clock();
    c->fd = c->give_up_fd = -1;
    address_text(address, c->address);
    uint64_t deadline_us = deadline_after(c, timeout_us);
    struct socket_address to = {0};
    enum err e = address_resolve(address, &to, why);
    if (e != ERR_OK) {
        goto fail;
    }
    c->fd = socket_connect(&to);
    int number = c->fd < 0 ? errno : 0;
    if (c->fd >= 0) {
        e = wait_for(c, POLLOUT, deadline_us, why);
        if (e != ERR_OK) {
            goto fail;
        }
        number = socket_connect_result(c->fd);
    }
    if (number != 0) {
        e = err_why(why, ERR_UNREACHABLE, "cannot reach %s: %s", c->address, strerror(number));
        goto fail;
    }
    *out = c;
    return ERR_OK;
fail:
    rpc_client_close(c);
    return e;
}

void rpc_client_give_up_on(struct rpc_client *c, int fd)
{
    c->give_up_fd = fd;
}

void rpc_client_close(struct rpc_client *c)
{
    if (c == NULL) {
        return;
    }
    if (c->fd >= 0) {
        close(c->fd);
    }
    buffer_close(&c->out);
    buffer_close(&c->in);
    free(c);
}

/* ---- messages ---- */

uint32_t rpc_client_queue(struct rpc_client *c, const char *method, struct bytes params)
{
    uint32_t msgid = c->next_msgid++;
    rpc_write_request(&c->out, msgid, bytes_of_string(method), params);
    return msgid;
}

static enum err flush_until(struct rpc_client *c, uint64_t deadline_us, struct why *why)
{
    size_t sent = 0;
    enum err e = ERR_OK;
    while (sent < c->out.size && e == ERR_OK) {
        ssize_t n = send(c->fd, c->out.data + sent, c->out.size - sent, MSG_NOSIGNAL);
        if (n >= 0) {
            sent += (size_t)n;
        } else if (errno == EAGAIN) {
            e = wait_for(c, POLLOUT, deadline_us, why);
        } else if (errno != EINTR) {
            e = err_why(why, ERR_UNREACHABLE, "lost connection to %s: %s", c->address,
                        strerror(errno));
        }
    }
    buffer_consume(&c->out, sent);
    return e;
}

enum err rpc_client_flush(struct rpc_client *c, uint64_t timeout_us, struct why *why)
{
    return flush_until(c, deadline_after(c, timeout_us), why);
}

/* More bytes from the server. */
static enum err receive_bytes(struct rpc_client *c, uint64_t deadline_us, struct why *why)
{
    for (;;) {
        uint8_t *place = buffer_reserve(&c->in, READ_BYTES);
        ssize_t n = recv(c->fd, place, READ_BYTES, 0);
        if (n > 0) {
            c->in.size += (size_t)n;
            return ERR_OK;
        }
        if (n == 0) {
            return err_why(why, ERR_UNREACHABLE, "%s closed the connection", c->address);
        }
        if (errno == EAGAIN) {
            enum err e = wait_for(c, POLLIN, deadline_us, why);
            if (e != ERR_OK) {
                return e;
            }
        } else if (errno != EINTR) {
            return err_why(why, ERR_UNREACHABLE, "lost connection to %s: %s", c->address,
                           strerror(errno));
        }
    }
}

/* Whatever answers there has not taken the request for one. */
static enum err not_a_client_port(struct rpc_client *c, struct bytes answer, struct why *why)
{
    static const char http[] = "HTTP/";
    c->wrong_port = true;
    bool speaks_http =
        answer.size >= sizeof http - 1 && memcmp(answer.data, http, sizeof http - 1) == 0;
    return err_why(why, ERR_UNREACHABLE,
                   speaks_http ? "%s is an HTTP port, not a client port"
                               : "%s does not answer in MessagePack-RPC: it is not a client port",
                   c->address);
}

/* The port of a node told us that it is another one. */
static enum err told_of_the_port(struct rpc_client *c, const struct rpc_message *m, struct why *why)
{
    struct reader r = reader_of(m->params);
    read_array_of(&r, 1);
    struct bytes sentence = read_str(&r, 200);
    c->wrong_port = true;
    return err_why(why, ERR_UNREACHABLE, "%s is not a client port: %.*s", c->address,
                   r.err == ERR_OK ? (int)sentence.size : 0, (const char *)sentence.data);
}

static bool tells_of_the_port(const struct rpc_message *m)
{
    return m->type == RPC_NOTIFY && bytes_is(m->method, WRONG_PORT_METHOD);
}

static enum err receive_until(struct rpc_client *c, uint64_t deadline_us, struct rpc_message *out,
                              struct why *why)
{
    for (;;) {
        struct bytes rest = buffer_bytes(&c->in);
        if (c->in_used > 0) {
            rest = bytes_of(c->in.data + c->in_used, c->in.size - c->in_used);
        }
        size_t size = 0;
        enum err e = rpc_scan(&c->scan, rest, MESSAGE_BYTES_MAX, READER_DEPTH_MAX, &size);
        if (e == ERR_OK) {
            e = rpc_decode(bytes_of(rest.data, size), out);
            c->in_used += size;
        }
        if (e == ERR_OK) {
            return tells_of_the_port(out) ? told_of_the_port(c, out, why) : ERR_OK;
        }
        if (e != ERR_TRUNCATED) {
            return not_a_client_port(c, rest, why);
        }
        buffer_consume(&c->in, c->in_used); /* the views handed out end here */
        c->in_used = 0;
        e = receive_bytes(c, deadline_us, why);
        if (e != ERR_OK) {
            return e;
        }
    }
}

enum err rpc_client_receive(struct rpc_client *c, uint64_t timeout_us, struct rpc_message *out,
                            struct why *why)
{
    return receive_until(c, deadline_after(c, timeout_us), out, why);
}

/* ---- a call ---- */

static enum err judge(const struct rpc_message *m, struct rpc_outcome *out, struct why *why)
{
    if (rpc_is_nil(m->error)) {
        out->result = m->result;
        return ERR_OK;
    }
    if (rpc_error_decode(m->error, &out->error) != ERR_OK) {
        return err_why(why, ERR_INVALID, "the server failed in a way that cannot be read");
    }
    char code[64] = {0};
    if (out->error.code.size > 0 && out->error.code.size < sizeof code) {
        memcpy(code, out->error.code.data, out->error.code.size);
    }
    enum err e = err_from_name(code);
    if (e == ERR_COUNT || e == ERR_OK) {
        e = ERR_INVALID;
    }
    return err_why(why, e, "%.*s", (int)out->error.message.size,
                   (const char *)out->error.message.data);
}

enum err rpc_client_call(struct rpc_client *c, const char *method, struct bytes params,
                         uint64_t timeout_us, struct rpc_outcome *out, struct why *why)
{
    *out = (struct rpc_outcome){0};
    uint64_t deadline_us = deadline_after(c, timeout_us);
    uint32_t msgid = rpc_client_queue(c, method, params);
    size_t queued = c->out.size;
    enum err e = flush_until(c, deadline_us, why);
    if (e != ERR_OK) {
        return c->out.size < queued && e == ERR_UNREACHABLE ? ERR_OUTCOME_UNKNOWN : e;
    }
    struct rpc_message m = {0};
    do {
        e = receive_until(c, deadline_us, &m, why);
        if (e != ERR_OK) {
            return e == ERR_UNREACHABLE && !c->wrong_port ? ERR_OUTCOME_UNKNOWN : e;
        }
    } while (m.type != RPC_RESPONSE || m.msgid != msgid);
    return judge(&m, out, why);
}
