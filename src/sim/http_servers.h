/* HTTP servers as a scenario describes them, and every request that one of them received: the
 * world's own account, whatever scripts believe. Times are those of the caller's clock, in µs. */
#ifndef MK_SIM_HTTP_SERVERS_H
#define MK_SIM_HTTP_SERVERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "base/url.h"
#include "port/http.h"
#include "sim/sim_net.h"

enum { HTTP_SERVER_STATUSES_MAX = 32 };

struct http_server_rule {
    /* Answers for all that begins with it: the longest such counts. As url_text() has it. */
    const char *url;
    /* Of its answers, one after another; the last one for all that come later. */
    int statuses[HTTP_SERVER_STATUSES_MAX];
    uint32_t statuses_count;
    struct bytes body;
    struct bytes fields;     /* encoded as in wire/http_answer.h; empty: none */
    struct sim_span latency; /* from the request to the answer */
    double fails;            /* chance that a request fails, in one of the ways below */
    bool down;               /* refuses connections */
    uint32_t refuses;        /* hosts that cannot reach it: a bit each */
};

/* What becomes of one request. Each way to fail is as likely as the others. */
enum http_fate {
    HTTP_ANSWERED,
    HTTP_REFUSED,      /* no connection: it is not received */
    HTTP_LOST,         /* the connection breaks before it is received */
    HTTP_ANSWER_LOST,  /* it is received, then the connection breaks */
    HTTP_NOT_ANSWERED, /* it is received, nothing comes back */
    HTTP_ERROR,        /* it is received, and answered with 503 */
    HTTP_FATES
};

/* A request that was received. */
struct http_received {
    uint32_t host;
    char *method, *url, *body; /* body ends with a zero that does not count */
    size_t body_size;
    struct slice fields; /* encoded as in wire/http_answer.h */
    uint64_t at_us;
    int status;    /* of the answer; 0: none was sent */
    bool answered; /* the answer was there, and whoever asked still lived and waited */
};

struct http_servers;
struct http_servers *http_servers_new(void);
/* Accepts NULL. */
void http_servers_free(struct http_servers *all);

/* Replaces the one of that url, and begins its statuses anew. Copied. */
void http_servers_define(struct http_servers *all, const struct http_server_rule *rule);
/* Who answers url. NULL: nobody. Valid until the next definition. */
const struct http_server_rule *http_servers_find(const struct http_servers *all, const char *url);

enum http_fate http_servers_draw(const struct http_server_rule *rule, uint32_t host,
                                 struct rng *rng);

struct http_incoming {
    uint32_t host;
    const char *method, *url;
    struct bytes fields, body;
};
/* The server receives a request, and decides on the status of its answer (0 for a fate without
 * one). Its number. */
uint64_t http_servers_receive(struct http_servers *all, const struct http_incoming *request,
                              enum http_fate fate, uint64_t now_us);
void http_servers_answered(struct http_servers *all, uint64_t number);
/* Append the answer to a request that was received, as in wire/http_answer.h. */
void http_servers_answer(const struct http_servers *all, uint64_t number, struct buffer *out);
uint64_t http_servers_count(const struct http_servers *all);
const struct http_received *http_servers_received(const struct http_servers *all, uint64_t number);

#endif
