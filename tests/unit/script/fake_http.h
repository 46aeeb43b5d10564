/* A world in which no HTTP server is there. */
#ifndef MK_TESTS_FAKE_HTTP_H
#define MK_TESTS_FAKE_HTTP_H

#include "host_fixture.h"

static inline void fake_http_request(void *ctx, uint64_t call, const struct http_spec *spec)
{
    (void)spec;
    script_host_reply(((struct fixture *)ctx)->host, call, ERR_UNREACHABLE, NULL,
                      (struct slice){0});
}
static inline void fake_http_cancel(void *ctx, uint64_t call)
{
    (void)ctx, (void)call;
}

/* A port of the fixture. */
static inline struct http_port fake_http(struct fixture *f)
{
    return (struct http_port){.ctx = f, .request = fake_http_request, .cancel = fake_http_cancel};
}

#endif
