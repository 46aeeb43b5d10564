/* The guardian of a host: it owns the page, starts the process with back-off, and certifies to the
 * peers that an incarnation is dead. */
#include <string.h>

#include "base/assert.h"
#include "sim/sim_process_internal.h"

/* How long a guardian goes on offering a certificate to a peer that it cannot reach; how long a
 * process must have lived for the back-off to begin anew. */
enum { CERTIFICATE_KEEP_US = 5000000, STEADY_US = 5000000 };

/* ---- starts ---------------------------------------------------------------------------------- */

static void new_incarnation(struct sim_process *p)
{
    p->incarnations++;
    p->page.guardian_is_new = p->page.starts == 0 && !p->promised_nothing;
    p->promised_nothing = false;
    p->page.starts++;
    sim_process_entropy(p, p->page.incarnation, sizeof p->page.incarnation);
    p->page.ready = false;
}

static void on_start(void *ctx, uint64_t life)
{
    struct sim_process *p = ctx;
    if (life != p->life || !p->guardian || p->node != NULL) {
        return;
    }
    p->restarting = false;
    new_incarnation(p);
    sim_process_start(p);
}

static void start_later(struct sim_process *p, uint64_t delay_us)
{
    p->restarting = true;
    world_after(p->world, delay_us + sim_span_draw(p->options.start_time, &p->rng), on_start, p,
                p->life);
}

void sim_process_boot(struct sim_process *p)
{
    ASSERT(p->node == NULL);
    ASSERT(!p->restarting);
    memset(&p->page, 0, sizeof p->page);
    p->guardian = true;
    p->life++;
    p->restart_us = p->options.restart_min_us;
    start_later(p, 0);
}

void sim_process_promised_nothing(struct sim_process *p)
{
    p->promised_nothing = true;
}

void sim_process_restart(struct sim_process *p)
{
    if (!p->guardian) {
        sim_process_boot(p);
        return;
    }
    ASSERT(p->node == NULL);
    ASSERT(!p->restarting);
    start_later(p, 0);
}

/* ---- deaths ---------------------------------------------------------------------------------- */

static void certify(struct sim_process *p, uint32_t to)
{
    sim_net_certify(p->net, p->options.host, to, p->last_dead, CERTIFICATE_KEEP_US);
}

/* The guardian has reaped the process and killed its children: it tells the peers. */
static void on_reaped(void *ctx, uint64_t life)
{
    struct sim_process *p = ctx;
    if (life != p->life || !p->guardian) {
        return;
    }
    if (atomic_load(&p->page.lent_until_us) > sim_clock_now_us(sim_process_clock(p))) {
        return; /* clients still work for its leadership */
    }
    for (uint32_t i = 0; i < p->page.peers_count; i++) {
        uint32_t to = sim_process_host_of(p, p->page.peers[i].id);
        if (to != SIM_NET_HOSTS_MAX && to != p->options.host) {
            certify(p, to);
        }
    }
}

void sim_process_guardian_reaps(struct sim_process *p, bool restart)
{
    memcpy(p->last_dead, p->page.incarnation, sizeof p->last_dead);
    p->certified = true;
    uint64_t reaped_us = sim_span_draw(p->options.death_time, &p->rng);
    world_after(p->world, reaped_us, on_reaped, p, p->life);
    if (!restart) {
        return;
    }
    if (world_now_us(p->world) > p->started_us + STEADY_US) {
        p->restart_us = p->options.restart_min_us;
    }
    start_later(p, reaped_us + p->restart_us);
    p->restart_us = p->restart_us * 2 < p->options.restart_max_us ? p->restart_us * 2
                                                                  : p->options.restart_max_us;
}

bool sim_process_replay_certificate(struct sim_process *p, uint32_t to)
{
    if (p->certified) {
        certify(p, to);
    }
    return p->certified;
}

void sim_process_guardian_ends(struct sim_process *p)
{
    p->guardian = false;
    p->restarting = false;
    p->life++;
}
