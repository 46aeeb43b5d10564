/* Asking a cluster for as long as it takes: a connection that is kept, and made anew, to the next
 * of the endpoints, when it breaks. For verbs that hold something (lock, lead).
 *
 * What is asked is asked again when no answer came, so it must do no harm twice. */
#ifndef MK_CLI_STEADY_H
#define MK_CLI_STEADY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "cli/cli.h"

struct steady;

/* One node has so long to answer; then another is asked. */
enum { STEADY_ATTEMPT_US = 2000000 };

/* give_up_fd: waiting ends when it becomes readable; borrowed. --endpoints must have been checked.
 */
struct steady *steady_new(const struct cli *cli, int give_up_fd);
/* Accepts NULL. */
void steady_free(struct steady *s);

/* Ask until there is an answer or the time is over (µs of CLOCK_BOOTTIME). Appends the encoded
 * result to out; *asked_us (may be NULL): when that was asked which was answered.
 * Errors: CANCELLED (give_up_fd is readable); what the cluster answers; in the end, those that
 * pass: nobody can be reached, there is no leader, ... */
enum err steady_call(struct steady *s, const char *method, struct bytes params,
                     uint64_t deadline_us, struct buffer *out, uint64_t *asked_us, struct why *why);

/* Ask one node once, for at most wait_us, what it answers when something has changed. Errors:
 * TIMEOUT, nothing has; CANCELLED; those of steady_call(), but those that pass at once. */
enum err steady_wait(struct steady *s, const char *method, struct bytes params, uint64_t wait_us,
                     struct buffer *out, struct why *why);

/* Is it worth asking again? */
bool steady_passes(enum err e);

/* Sleep until then. False: given up. */
bool steady_sleep(struct steady *s, uint64_t until_us);

uint64_t steady_now_us(void);

#endif
