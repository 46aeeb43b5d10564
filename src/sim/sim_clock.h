/* The clock of one simulated host: true time seen through a rate and jumps.
 *
 * Two clocks in one, as in port/clock.h: the boot clock, which starts anew with the host and never
 * goes back, and the wall clock, which may be wrong by any amount and step either way. Both run at
 * the host's rate. */
#ifndef MK_SIM_SIM_CLOCK_H
#define MK_SIM_SIM_CLOCK_H

#include <stdint.h>

#include "port/clock.h"
#include "sim/world.h"

/* In place, owned by the host. */
struct sim_clock {
    const struct world *world;
    int32_t rate_ppm;      /* +100000: runs 10 % fast */
    uint64_t base_true_us; /* at this true time ... */
    uint64_t base_boot_us; /* ... the boot clock showed this ... */
    int64_t base_wall_us;  /* ... and the wall clock this */
    struct clock_port port;
};

struct sim_clock_setup {
    int32_t rate_ppm;
    uint64_t boot_us; /* what the boot clock shows now */
    int64_t wall_ms;  /* what the wall clock shows now */
};

void sim_clock_init(struct sim_clock *c, const struct world *world,
                    const struct sim_clock_setup *setup);
const struct clock_port *sim_clock_port(const struct sim_clock *c);

uint64_t sim_clock_now_us(const struct sim_clock *c);
/* The first true time at which the boot clock shows at least boot_us, if nothing changes. */
uint64_t sim_clock_true_us(const struct sim_clock *c, uint64_t boot_us);

void sim_clock_set_rate(struct sim_clock *c, int32_t rate_ppm);
/* The boot clock leaps ahead (a lying hypervisor): outside of what leases rely on. */
void sim_clock_jump(struct sim_clock *c, uint64_t ahead_us);
void sim_clock_jump_wall(struct sim_clock *c, int64_t by_ms);
/* The host was booted: its boot clock starts at boot_us. The wall clock goes on. */
void sim_clock_reboot(struct sim_clock *c, uint64_t boot_us);

#endif
