/* What the tests of net/ share: real sockets on loopback, driven by a loop, never by sleeping. */
#ifndef MK_TESTS_NET_CHECK_H
#define MK_TESTS_NET_CHECK_H

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "net/address.h"
#include "net/loop.h"
#include "net/socket.h"

enum { PATIENCE_US = 10000000 };

static inline uint64_t now_us(void)
{
    struct clock_port clock = loop_clock();
    return clock_now_us(&clock);
}

/* Rounds of the loop until the condition holds; fails the test if it never does. */
#define run_until(loop, condition)                           \
    do {                                                     \
        uint64_t end_us_ = now_us() + PATIENCE_US;           \
        while (!(condition)) {                               \
            if (now_us() > end_us_) {                        \
                fail_msg("never came true: %s", #condition); \
            }                                                \
            loop_round((loop), 20000);                       \
        }                                                    \
    } while (0)

/* Rounds for so long, for what must not happen. */
static inline void run_for(struct loop *loop, uint64_t duration_us)
{
    uint64_t end_us = now_us() + duration_us;
    while (now_us() < end_us) {
        loop_round(loop, end_us - now_us());
    }
}

static inline struct address loopback(uint16_t port)
{
    return (struct address){.host = "127.0.0.1", .port = port};
}

/* A connection made by hand, non-blocking. */
static inline int connect_raw(uint16_t port)
{
    struct address a = loopback(port);
    struct socket_address to;
    assert_int_equal(address_resolve_numeric(&a, &to), ERR_OK);
    int fd = socket_connect(&to);
    assert_true(fd >= 0);
    return fd;
}

static inline void send_raw(int fd, const void *data, size_t size)
{
    assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* Has the other side closed this connection? Reads (and appends to in, if given) what is there. */
static inline bool is_closed(int fd, struct buffer *in)
{
    for (;;) {
        uint8_t data[65536];
        ssize_t n = recv(fd, data, sizeof data, 0);
        if (n > 0) {
            if (in != NULL) {
                buffer_add(in, data, (size_t)n);
            }
            continue;
        }
        return n == 0 || (errno != EAGAIN && errno != EINTR && errno != ENOTCONN);
    }
}

/* A log that counts its lines and keeps the last one. */
struct test_log {
    struct log log;
    unsigned lines;
    char last[1024];
};

static inline void test_log_write(void *sink, const char *line, size_t size)
{
    struct test_log *t = sink;
    t->lines++;
    snprintf(t->last, sizeof t->last, "%.*s", (int)size, line);
}

static inline int64_t test_log_wall_ms(void *clock)
{
    (void)clock;
    return 0;
}

static inline void test_log_init(struct test_log *t)
{
    *t = (struct test_log){.log = {.level = LOG_LEVEL_WARN,
                                   .format = LOG_LOGFMT,
                                   .wall_ms = test_log_wall_ms,
                                   .write = test_log_write,
                                   .sink = t}};
}

#endif
