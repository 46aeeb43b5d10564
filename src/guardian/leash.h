/* One program that may run until a deadline and no longer, whatever happens to who started it:
 * `moonkeeper lock NAME -- CMD`.
 *
 *     holder   extends the deadline (a lease was renewed); the terminal's and the shell's process
 *        └─ watcher   forked by leash_start(): waits for the deadline, for the holder's end, for
 *              └─ program    the program's end
 *
 * The watcher kills the program, and all that it has started, when the deadline passes (the holder
 * may be stopped) or the holder dies of anything. If the watcher itself is killed, the kernel kills
 * the program, and the holder whatever that leaves behind. The program stays in the holder's
 * process group and on its terminal, so that job control and Ctrl-C are as without a leash; the
 * watcher does not, so that they do not reach it. What nobody guards against is a SIGSTOP to both.
 *
 * Owned by the holder, which may have one at a time and no other children. Times are µs of
 * CLOCK_BOOTTIME. */
#ifndef MK_GUARDIAN_LEASH_H
#define MK_GUARDIAN_LEASH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct leash;

struct leash_end {
    int not_run;  /* errno: the program could not be run; 0: it could */
    int status;   /* of the program, as wait(2) has it */
    bool expired; /* the deadline has passed: it was killed, or did not begin */
};

/* argv[0] is looked up in PATH; environment: "NAME=value", NULL at the end, added to our own, which
 * passes on none of its MOONKEEPER_ variables but the tag of a script's program
 * (net/program_tag.h). A program that cannot be run has ended at once, see leash_end. Errors: IO.
 */
enum err leash_start(char *const *argv, char *const *environment, uint64_t deadline_us,
                     struct leash **out, struct why *why);

/* Later, or sooner. */
void leash_set_deadline(struct leash *l, uint64_t deadline_us);
/* To the program alone. From signal handlers, too. */
void leash_signal(const struct leash *l, int signal_number);

/* Becomes readable when the program has ended. Waiting for the end is leash_ended(). */
int leash_fd(const struct leash *l);
/* Has it ended, and all that it had started? Does not wait. */
bool leash_ended(struct leash *l, struct leash_end *out);

/* Kills what runs and waits for its end. Accepts NULL. */
void leash_free(struct leash *l);

#endif
