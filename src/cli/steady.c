#include "cli/steady.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "cli/client.h"
#include "net/address.h"
#include "net/loop.h"
#include "net/rpc_client.h"

enum {
    DEFAULT_PORT = 7117,
    CONNECT_US = 1000000,
    PAUSE_US = 100000, /* between two attempts */
};

struct steady {
    const struct cli *cli;
    int give_up_fd;
    struct rpc_client *client; /* NULL: not connected */
    size_t endpoint;           /* where the present one begins in the list */
};

uint64_t steady_now_us(void)
{
    struct clock_port clock = loop_clock();
    return clock_now_us(&clock);
}

struct steady *steady_new(const struct cli *cli, int give_up_fd)
{
    struct steady *s = NEW(struct steady);
    s->cli = cli;
    s->give_up_fd = give_up_fd;
    return s;
}

void steady_free(struct steady *s)
{
    if (s != NULL) {
        rpc_client_close(s->client);
        free(s);
    }
}

bool steady_sleep(struct steady *s, uint64_t until_us)
{
    struct pollfd p = {.fd = s->give_up_fd, .events = POLLIN};
    uint64_t now_us = steady_now_us();
    uint64_t left_us = until_us > now_us ? until_us - now_us : 0;
    struct timespec left = {.tv_sec = (time_t)(left_us / 1000000),
                            .tv_nsec = (long)(left_us % 1000000) * 1000};
    return ppoll(&p, 1, &left, NULL) == 0 || p.revents == 0;
}

/* ---- endpoints ------------------------------------------------------------------------------ */

static const char *endpoints(const struct steady *s)
{
    return s->cli->endpoints != NULL ? s->cli->endpoints : CLIENT_DEFAULT_ENDPOINT;
}

static void drop(struct steady *s)
{
    rpc_client_close(s->client);
    s->client = NULL;
    const char *list = endpoints(s);
    s->endpoint += strcspn(list + s->endpoint, ",");
    s->endpoint = list[s->endpoint] == ',' ? s->endpoint + 1 : 0;
}

static uint64_t time_for(uint64_t deadline_us, uint64_t most_us)
{
    uint64_t now_us = steady_now_us();
    uint64_t left_us = deadline_us > now_us ? deadline_us - now_us : 0;
    return left_us < most_us ? left_us : most_us;
}

static enum err connect_to(struct steady *s, uint64_t deadline_us, struct why *why)
{
    char text[ADDRESS_TEXT_MAX];
    struct address address;
    const char *at = endpoints(s) + s->endpoint;
    snprintf(text, sizeof text, "%.*s", (int)strcspn(at, ","), at);
    enum err e = address_parse(text, DEFAULT_PORT, &address, why);
    if (e == ERR_OK) {
        e = rpc_client_open(&address, time_for(deadline_us, CONNECT_US), &s->client, why);
    }
    if (e == ERR_OK) {
        rpc_client_give_up_on(s->client, s->give_up_fd);
    }
    return e;
}

/* ---- a call --------------------------------------------------------------------------------- */

struct attempt {
    const char *method;
    struct bytes params;
    uint64_t deadline_us;
    bool may_find_nothing; /* TIMEOUT is an answer */
};

/* *answered: what went wrong is what a node has told. */
static enum err attempt(struct steady *s, const struct attempt *a, struct buffer *out,
                        bool *answered, struct why *why)
{
    enum err e = s->client != NULL ? ERR_OK : connect_to(s, a->deadline_us, why);
    struct rpc_outcome outcome = {0};
    if (e == ERR_OK) {
        e = rpc_client_call(s->client, a->method, a->params,
                            time_for(a->deadline_us, STEADY_ATTEMPT_US), &outcome, why);
    }
    *answered = outcome.error.message.size > 0;
    if (e == ERR_OK) {
        buffer_add_bytes(out, outcome.result);
    } else if (!*answered || (steady_passes(e) && !(a->may_find_nothing && e == ERR_TIMEOUT))) {
        drop(s); /* this was no answer of the cluster, or another node may have a better one */
    }
    return e;
}

enum err steady_wait(struct steady *s, const char *method, struct bytes params, uint64_t wait_us,
                     struct buffer *out, struct why *why)
{
    const struct attempt a = {.method = method,
                              .params = params,
                              .deadline_us = steady_now_us() + wait_us,
                              .may_find_nothing = true};
    bool answered;
    return attempt(s, &a, out, &answered, why);
}

bool steady_passes(enum err e)
{
    return e == ERR_UNREACHABLE || e == ERR_TIMEOUT || e == ERR_OUTCOME_UNKNOWN ||
           e == ERR_NOT_LEADER || e == ERR_NO_SPACE || e == ERR_BUSY || e == ERR_SHUTDOWN;
}

enum err steady_call(struct steady *s, const char *method, struct bytes params,
                     uint64_t deadline_us, struct buffer *out, uint64_t *asked_us, struct why *why)
{
    const struct attempt a = {.method = method, .params = params, .deadline_us = deadline_us};
    enum err e, told = ERR_OK; /* by a node, why it could not be done yet */
    struct why told_why = {""};
    do {
        uint64_t now_us = steady_now_us();
        bool answered = false;
        if (asked_us != NULL) {
            *asked_us = now_us;
        }
        e = attempt(s, &a, out, &answered, why);
        if (!steady_passes(e)) {
            return e;
        }
        if (answered) {
            told = e;
            told_why = *why;
        }
        if (!steady_sleep(s, now_us + time_for(deadline_us, PAUSE_US))) {
            return err_why(why, ERR_CANCELLED, "it was given up");
        }
    } while (steady_now_us() < deadline_us);
    if (e == ERR_TIMEOUT && told != ERR_OK) { /* the last had little time */
        *why = told_why;
        return told;
    }
    return e;
}
