/* The programs that scripts have started, each a process group and a tag for what leaves that
 * (net/program_tag.h): a table in the guardian's page, so that the guardian can kill them when
 * their deadline passes or the node dies, and a copy in a file of the data directory, so that a new
 * guardian can kill what the two left when both were killed.
 *
 * The node adds and removes; the guardian only kills. A slot belongs to the node while its process
 * group is not 0, except that the guardian empties it when it kills at the deadline. */
#ifndef MK_GUARDIAN_CHILDREN_H
#define MK_GUARDIAN_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/log.h"
#include "port/guardian_page.h"

#define CHILDREN_FILE "children"

/* ---- the node's side ------------------------------------------------------------------------ */

struct children;

/* Errors: IO, NO_SPACE, LOCKED (another node lives in this directory). */
enum err children_open(struct guardian_page *page, int wake_fd, const char *data_dir,
                       struct children **out, struct why *why);
/* The table stays as it is. Accepts NULL. */
void children_close(struct children *c);

/* Enter a group whose leader is alive (or a zombie). deadline_us on CLOCK_BOOTTIME; UINT64_MAX:
 * none. *slot names it from now on. Errors: BUSY, the table is full; NOT_FOUND, no such process. */
enum err children_add(struct children *c, const struct guardian_entry *entry, uint32_t *slot);
/* A lease was extended, or ends sooner. */
void children_set_deadline(struct children *c, uint32_t slot, uint64_t deadline_us);
/* Once all of the group is reaped. */
void children_remove(struct children *c, uint32_t slot);

/* ---- the guardian's side -------------------------------------------------------------------- */

/* The earliest deadline; UINT64_MAX: none. */
uint64_t children_deadline_us(const struct guardian_page *page);
/* Kill those whose deadline is not after now_us: their groups, then what has left these. Waits for
 * the end of the latter, which are below the calling process, for half a second.
 * Errors: those of programs_kill(). */
enum err children_kill_expired(struct guardian_page *page, uint64_t now_us);
/* The node is dead: kill all. */
void children_kill_all(struct guardian_page *page);
/* Kill what an earlier guardian left, as the file has it, and wait for its end; nothing if its node
 * still lives. Errors: those of programs_kill(). */
enum err children_clear(const char *data_dir, const struct log *log, struct why *why);

#endif
