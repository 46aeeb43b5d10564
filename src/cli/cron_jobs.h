/* The jobs of the bundled script cron, as it keeps them in kv or as a configuration has them. */
#ifndef MK_CLI_CRON_JOBS_H
#define MK_CLI_CRON_JOBS_H

#include <stddef.h>

#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/kv_items.h"
#include "cli/slots.h"

struct cron_job {
    char name[128];
    char schedule[128];
    char tz[64];
    struct bytes state; /* of its key, borrowed; empty: from a configuration */
    struct slots slots;
    bool is_foreign; /* this machine does not know its zone or schedule: slots is UTC and no more */
};

struct cron_jobs {
    struct cron_job *at; /* in the order of names, or of the configuration */
    size_t count;
    struct kv_items items;
};

/* --prefix of the key-value pairs: that of the script's settings. */
#define CRON_JOBS_PREFIX "cron"

/* From the cluster. A failure is reported; so is a foreign job, which is none. Returns the exit
 * code. */
int cron_jobs_read(const struct cli *cli, const char *prefix, struct cron_jobs *out);
/* From the configuration of a node. The same. */
int cron_jobs_load(const struct cli *cli, const char *path, struct cron_jobs *out);
void cron_jobs_close(struct cron_jobs *jobs);

/* NULL, and that is reported with the nearest name, if there is none. */
const struct cron_job *cron_jobs_find(const struct cli *cli, const struct cron_jobs *jobs,
                                      const char *name);

#endif
