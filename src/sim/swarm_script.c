#include "sim/swarm_script.h"

#include "wire/writer.h"

enum { MS = 1000 };

static const char source[] =
    "local mk = require 'moonkeeper'\n"
    "local unit = mk.config.get('unit_ms')\n"
    "local spins = mk.config.get('spins')\n"
    "local function unique() return string.format('s%x-%x', math.random(0), math.random(0)) end\n"
    "local left = 40 -- a run must come to rest in the end\n"
    "local function set(key)\n"
    "  left = left - 1\n"
    "  if left >= 0 then mk.kv.set(key, unique(), { timeout_ms = 4 * unit }) end\n"
    "end\n"
    "\n"
    "local seen = 0\n"
    "mk.on('commit', function(ev)\n"
    "  if ev.index <= seen then error('out of order') end\n"
    "  seen = ev.index\n"
    "end, { name = 'quick' })\n"
    "mk.on('commit', function(ev)\n"
    "  if ev.index % 5 == 0 then mk.task.sleep(math.random(unit)) end\n"
    "end, { name = 'slow' })\n"
    "mk.on('commit', function(ev)\n"
    "  if ev.index % 3 == 0 then error('as always') end\n"
    "end, { name = 'failing' })\n"
    "\n"
    "mk.while_leader('obedient', function(lead)\n"
    "  mk.task.defer(function() mk.emit('swarm.ended', { token = lead.token }) end)\n"
    "  for _ = 1, 15 do\n"
    "    lead:check()\n"
    "    set('leader')\n"
    "    mk.task.sleep(math.random(unit))\n"
    "  end\n"
    "  while lead:valid() do mk.task.sleep(unit) end\n"
    "end, { grace_ms = unit })\n"
    "mk.while_leader('stubborn', function()\n"
    "  while true do pcall(mk.task.sleep, 1 + unit // 10) end\n"
    "end, { grace_ms = unit // 2 })\n"
    "\n"
    "mk.task.spawn(function()\n"
    "  for _ = 1, 5 do\n"
    "    mk.task.sleep(math.random(4 * unit))\n"
    "    set('anyone')\n"
    "  end\n"
    "end)\n"
    "mk.timer.every(2 * unit, function()\n"
    "  if spins and math.random(5) == 1 then while true do end end\n"
    "end)\n"
    "mk.on('leader_elected', function(ev) mk.log.info('leader', { id = ev.leader_id }) end)\n"
    "mk.on('shutdown', function() mk.task.sleep(math.random(unit)) end)\n";

void swarm_script_draw(struct swarm_script *s, struct rng *rng, struct cluster_options *options)
{
    *s = (struct swarm_script){0};
    uint64_t unit_us = options->raft.election_min_us;
    bool scripts = rng_chance(rng, 0.35);
    bool spins = rng_chance(rng, 0.3);
    uint64_t margin_us = rng_range(rng, 100, options->raft.lease_us / 4);
    uint32_t commits_max = rng_chance(rng, 0.5) ? 8 : 0;
    if (!scripts) {
        return;
    }
    write_map(&s->config, 2);
    write_text(&s->config, "unit_ms");
    write_u64(&s->config, unit_us / MS);
    write_text(&s->config, "spins");
    write_bool(&s->config, spins);
    s->app = (struct script_app){
        .name = "swarm", .path = "swarm.lua", .source = source, .config = buffer_bytes(&s->config)};
    options->scripts = &s->app;
    options->scripts_count = 1;
    options->script_limits = (struct script_limits){
        .budget_us = 4 * MS,
        .slice_us = 500,
        .lease_margin_us = margin_us,
        .commits_max = commits_max,
    };
}

void swarm_script_close(struct swarm_script *s)
{
    buffer_close(&s->config);
}
