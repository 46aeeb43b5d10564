#include "net/system_entropy.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

#include "base/assert.h"

static void fill(void *ctx, void *out, size_t size)
{
    (void)ctx;
    uint8_t *to = out;
    while (size > 0) {
        ssize_t n = getrandom(to, size, 0);
        if (n < 0) {
            /* There is no going on without: identities would not be unique. */
            ASSERT(errno == EINTR);
            continue;
        }
        to += n;
        size -= (size_t)n;
    }
}

const struct entropy_port *system_entropy(void)
{
    static const struct entropy_port port = {.fill = fill};
    return &port;
}
