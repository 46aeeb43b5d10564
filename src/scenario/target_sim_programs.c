/* The programs of a simulated cluster: sim/sim_programs.h for scenarios. */
#include <signal.h>
#include <string.h>

#include "scenario/target_sim_internal.h"
#include "sim/sim_programs.h"
#include "wire/writer.h"

enum { US_PER_MS = 1000 };

void target_sim_program(struct target *target, const struct target_program *p)
{
    struct sim_program program = {
        .name = p->name,
        .host = p->node != 0 ? p->node - 1 : SIM_EVERY_HOST,
        .run = {.min_us = p->run_min_us, .max_us = p->run_max_us + 1},
        .for_ever = p->for_ever,
        .code = p->code,
        .output = p->output,
        .errors = p->errors,
        .stopping = p->ignores_stop       ? SIM_STOP_REFUSES
                    : p->exits_when_asked ? SIM_STOP_EXITS
                                          : SIM_STOP_DIES,
        .stop_us = p->stop_us,
    };
    sim_programs_define(cluster_programs(target_sim_of(target)->cluster), &program);
}

static void write_ms(struct buffer *out, const char *key, uint64_t time_us)
{
    write_text(out, key);
    write_f64(out, (double)time_us / US_PER_MS);
}

static void write_status(struct buffer *out, int status)
{
    if (status >= 0) {
        write_text(out, "code");
        write_i64(out, status);
    } else {
        const char *name = sigabbrev_np(-status);
        write_text(out, "signal");
        write_text(out, name != NULL ? name : "?");
    }
}

static void write_run(struct buffer *out, const struct sim_run *run)
{
    write_map(out, 5u + (run->token != 0 ? 1u : 0u) + (run->ended ? 2u : 0u));
    write_text(out, "node");
    write_u64(out, run->host + 1);
    write_text(out, "name");
    write_text(out, run->name);
    write_text(out, "arguments");
    write_text(out, run->arguments);
    write_text(out, "pid");
    write_u64(out, run->number);
    write_ms(out, "began_ms", run->began_us);
    if (run->token != 0) {
        write_text(out, "token");
        write_u64(out, run->token);
    }
    if (run->ended) {
        write_ms(out, "ended_ms", run->ended_us);
        write_status(out, run->status);
    }
}

void target_sim_programs(struct target *target, struct buffer *out)
{
    const struct sim_programs *all = cluster_programs(target_sim_of(target)->cluster);
    uint64_t count = sim_programs_runs(all);
    write_array(out, (uint32_t)count);
    for (uint64_t i = 0; i < count; i++) {
        write_run(out, sim_programs_run(all, i));
    }
}
