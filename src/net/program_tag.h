/* How the processes of one program of a script are known, wherever they hide: each has inherited a
 * variable whose value no other program has. A process group does not tell: whoever calls setsid(),
 * as daemons do, leaves it.
 *
 * Not known are processes that have taken the variable out of their environment, or written over
 * it, and those whose environment we may not read (of another user, or set-user-ID). */
#ifndef MK_NET_PROGRAM_TAG_H
#define MK_NET_PROGRAM_TAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* Programs may run inside programs (a node that a node's script has started): the value has the
 * tags of all, ':' between them. */
#define PROGRAM_TAG_VARIABLE "MOONKEEPER_PROGRAM"

/* A new one. */
uint64_t program_tag_new(void);
/* "NAME=value" for the environment of the program: the tags of this process and this one. The
 * caller frees it. */
char *program_tag_variable(uint64_t tag);
/* Is this "NAME=value" of such a variable? Whoever starts a process with another environment than
 * its own passes it on. */
bool program_tag_is_variable(const char *variable);

/* Has any process of this group the tag? */
bool program_tag_in_group(pid_t group, uint64_t tag);

struct program {
    uint64_t tag;
    /* All of this group is the program's too, with a tag or without: who is dying has lost its
     * environment already. For the caller to see to that nobody else has the number; 0: none. */
    pid_t group;
};

struct programs {
    const struct program *at;
    size_t count;
    /* Only processes below this one are looked at, which is quick; 0: all of the machine. What has
     * lost its parent is there if this one is the subreaper of all (PR_SET_CHILD_SUBREAPER). */
    pid_t below;
};

/* Kill all processes of these programs, and wait for their end, for so long.
 * Errors: BUSY (some are left), IO (some may be: no descriptor was left to look for them). */
enum err programs_kill(const struct programs *programs, unsigned timeout_ms);

#endif
