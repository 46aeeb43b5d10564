/* Files of scripts, for real (port/files.h): on a thread of their own, which is started by the
 * first call, so that a slow disk or a dead network file system holds up neither the consensus loop
 * nor a script. */
#ifndef MK_NET_SCRIPT_FILES_H
#define MK_NET_SCRIPT_FILES_H

#include "base/bytes.h"
#include "base/err.h"
#include "port/files.h"

struct script_files;

struct script_files_options {
    const char *folder; /* of relative paths; made with the first file; copied */
    /* Answers a call of the port; takes over result. On the thread of files, or on the one that
     * asks. */
    void (*answer)(void *ctx, uint64_t call, enum err err, const char *message,
                   struct slice result_take);
    void *ctx;
};

struct script_files *script_files_new(const struct script_files_options *options);
/* Waits for what is under way, ends the thread: nothing is answered any more, what is asked for is
 * ignored. Accepts NULL. */
void script_files_stop(struct script_files *f);
/* Stops it first, if need be. Accepts NULL. */
void script_files_free(struct script_files *f);
const struct files_port *script_files_port(const struct script_files *f);

#endif
