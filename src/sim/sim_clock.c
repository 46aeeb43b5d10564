#include "sim/sim_clock.h"

#include "base/assert.h"

enum { MILLION = 1000000 };

static uint64_t elapsed_us(const struct sim_clock *c)
{
    uint64_t passed = world_now_us(c->world) - c->base_true_us;
    return passed * (uint64_t)(MILLION + c->rate_ppm) / MILLION;
}

uint64_t sim_clock_now_us(const struct sim_clock *c)
{
    return c->base_boot_us + elapsed_us(c);
}

static int64_t wall_us(const struct sim_clock *c)
{
    return c->base_wall_us + (int64_t)elapsed_us(c);
}

static uint64_t port_now_us(void *ctx)
{
    return sim_clock_now_us(ctx);
}

static int64_t port_wall_ms(void *ctx)
{
    return wall_us(ctx) / 1000;
}

void sim_clock_init(struct sim_clock *c, const struct world *world,
                    const struct sim_clock_setup *setup)
{
    ASSERT(setup->rate_ppm > -MILLION);
    *c = (struct sim_clock){
        .world = world,
        .rate_ppm = setup->rate_ppm,
        .base_true_us = world_now_us(world),
        .base_boot_us = setup->boot_us,
        .base_wall_us = setup->wall_ms * 1000,
    };
    c->port = (struct clock_port){.ctx = c, .now_us = port_now_us, .wall_ms = port_wall_ms};
}

const struct clock_port *sim_clock_port(const struct sim_clock *c)
{
    return &c->port;
}

uint64_t sim_clock_true_us(const struct sim_clock *c, uint64_t boot_us)
{
    if (boot_us == UINT64_MAX) {
        return UINT64_MAX;
    }
    if (boot_us <= sim_clock_now_us(c)) {
        return world_now_us(c->world);
    }
    uint64_t rate = (uint64_t)(MILLION + c->rate_ppm);
    uint64_t ahead = boot_us - c->base_boot_us;
    if (ahead > UINT64_MAX / MILLION / 2) {
        return UINT64_MAX;
    }
    return c->base_true_us + (ahead * MILLION + rate - 1) / rate;
}

static void rebase(struct sim_clock *c)
{
    uint64_t passed = elapsed_us(c);
    c->base_boot_us += passed;
    c->base_wall_us += (int64_t)passed;
    c->base_true_us = world_now_us(c->world);
}

void sim_clock_set_rate(struct sim_clock *c, int32_t rate_ppm)
{
    ASSERT(rate_ppm > -MILLION);
    rebase(c);
    c->rate_ppm = rate_ppm;
}

void sim_clock_jump(struct sim_clock *c, uint64_t ahead_us)
{
    c->base_boot_us += ahead_us;
}

void sim_clock_jump_wall(struct sim_clock *c, int64_t by_ms)
{
    c->base_wall_us += by_ms * 1000;
}

void sim_clock_reboot(struct sim_clock *c, uint64_t boot_us)
{
    rebase(c);
    c->base_boot_us = boot_us;
}
