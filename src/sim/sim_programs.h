/* Programs as a scenario describes them, and every run of one in a simulated cluster: the world's
 * own account, whatever scripts believe. Times are true times. */
#ifndef MK_SIM_SIM_PROGRAMS_H
#define MK_SIM_SIM_PROGRAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "sim/sim_net.h"

enum { SIM_EVERY_HOST = 0xffffffff };

struct sim_program {
    const char *name;            /* what argv[0] calls it */
    uint32_t host;               /* it is what that one has under this name; or SIM_EVERY_HOST */
    struct sim_span run;         /* how long it runs by itself */
    bool for_ever;               /* it does not end by itself */
    int code;                    /* its exit code then */
    struct bytes output, errors; /* written as it begins */
    /* When it is asked to stop (any signal that may be handled): it dies of that at once; or exits
     * with 0 after stop_us; or does not listen. */
    enum sim_stopping { SIM_STOP_DIES, SIM_STOP_EXITS, SIM_STOP_REFUSES } stopping;
    uint64_t stop_us;
};

struct sim_run {
    uint32_t host;
    uint64_t number; /* its process id: no two runs of a cluster have the same */
    char *name;      /* argv[0] */
    char *arguments; /* the others, with spaces in between */
    uint64_t token;  /* of the leadership that it worked for; 0: none */
    uint64_t began_us;
    bool ended;
    uint64_t ended_us;
    int status; /* exit code, or minus the signal */
};

struct sim_programs;
struct sim_programs *sim_programs_new(void);
/* Accepts NULL. */
void sim_programs_free(struct sim_programs *all);

/* From now on argv[0] == name is this program; replaces the one of that name and host. One for a
 * host goes before one for all. Copied. */
void sim_programs_define(struct sim_programs *all, const struct sim_program *program);
/* NULL if there is none. Valid until the next sim_programs_define(). */
const struct sim_program *sim_programs_find(const struct sim_programs *all, uint32_t host,
                                            const char *name);

/* A run begins: its index. argv[0] is known. */
uint64_t sim_programs_begin(struct sim_programs *all, uint32_t host, const char *const *argv,
                            uint64_t token, uint64_t now_us);
void sim_programs_end(struct sim_programs *all, uint64_t run, int status, uint64_t now_us);
/* All runs there were, in the order of their beginnings. */
uint64_t sim_programs_runs(const struct sim_programs *all);
const struct sim_run *sim_programs_run(const struct sim_programs *all, uint64_t run);

#endif
