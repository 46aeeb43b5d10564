-- Faults drawn by a seed, many at a time, for a while; then all is well again. For tests of what must be so
-- whatever happens: "the worker is never on two nodes at once".
--
--   chaos.run(c, { seconds = 60 })
--
-- The seed of the run decides everything. Each node has at most one trouble of its own at a time, and the
-- network one; any number of nodes may be in trouble together. Clocks run at rates within what leases allow
-- for (a tenth), so that nothing that leases promise may break.
local mk = require "moonkeeper"

local chaos = {}

local CLOCK_PPM_MAX = 99000 -- the drift that leases allow for, just not exceeded

-- Random numbers of its own: what a test draws besides does not change the faults. (xorshift64*)
local function generator(seed)
  local state = seed * 0x9E3779B97F4A7C15 | 1
  return function(least, most)
    state = state ~ state >> 12
    state = state ~ state << 25
    state = state ~ state >> 27
    return least + (state * 0x2545F4914F6CDD1D >> 33) % (most - least + 1)
  end
end

-- Between the two, short ones as often as long ones: each doubling is as likely as the next.
local function spread(draw, range)
  local doublings = math.log(range[2] / range[1], 2)
  return math.floor(range[1] * 2 ^ (doublings * draw(0, 1000) / 1000))
end

-- One node -----------------------------------------------------------------------------------------

-- What is done to a node, which runs, and how it is undone.
local node_faults = {
  crash = {
    begin = function(c, id) c:crash(id) end,
    finish = function(c, id) c:restart(id) end,
  },
  crash_host = { -- the machine loses its power, and what it had not written
    begin = function(c, id) c:crash(id, { host = true }) end,
    finish = function(c, id) c:restart(id) end,
  },
  crash_again = { -- its guardian starts it again at once
    begin = function(c, id) c:crash(id, { auto_restart = true }) end,
    finish = function(c, id)
      if not c:node(id):alive() then c:restart(id) end
    end,
  },
  stop = { -- planned
    begin = function(c, id) c:stop(id) end,
    finish = function(c, id) c:restart(id) end,
  },
  pause = {
    begin = function(c, id) c:pause(id) end,
    finish = function(c, id) c:resume(id) end,
  },
  clock = {
    sim_only = true,
    begin = function(c, id, draw) c:skew(id, 0, draw(-CLOCK_PPM_MAX, CLOCK_PPM_MAX)) end,
    finish = function(c, id) c:skew(id, 0, 0) end,
  },
  transfer = { -- to this node, or to whom the leader thinks best
    begin = function(c, id, draw) c:transfer(draw(1, 3) > 1 and id or nil, { timeout_ms = 1000 }) end,
    finish = function() end,
  },
}

-- The network ---------------------------------------------------------------------------------------

local function shuffled(c, draw)
  local ids = {}
  for id = 1, c.n do table.insert(ids, draw(1, id), id) end
  return ids
end

-- All of them are undone by c:heal().
local network_faults = {
  isolate = function(c, draw) c:isolate(draw(1, c.n)) end,
  partition = function(c, draw)
    local ids = shuffled(c, draw)
    local first = draw(1, c.n - 1)
    local left, right = table.move(ids, 1, first, 1, {}), table.move(ids, first + 1, c.n, 1, {})
    if draw(1, 3) == 1 then right[#right + 1] = left[1] end -- one hears both sides
    c:partition(left, right)
  end,
  cut = function(c, draw) -- one way: one link, or all to or from a node
    local ids, what = shuffled(c, draw), draw(1, 3)
    for i = 2, what == 1 and 2 or c.n do
      if what == 3 then c:cut(ids[i], ids[1]) else c:cut(ids[1], ids[i]) end
    end
  end,
  slow = function(c, draw)
    local ms = draw(5, 150)
    c:delay(draw(1, c.n), nil, 0, ms, { probability = draw(2, 10) / 10 })
  end,
  loss = function(c, draw) c:drop(nil, nil, draw(1, 40) / 100) end,
}

-- Drawing --------------------------------------------------------------------------------------------

local DEFAULTS = { "crash", "crash", "crash_host", "crash_again", "stop", "pause", "pause", "clock",
  "transfer", "transfer", "isolate", "partition", "partition", "cut", "slow", "loss" }

-- Those asked for that can be made here.
local function names_of(o, c)
  local names = {}
  for _, name in ipairs(o.faults or DEFAULTS) do
    local fault = node_faults[name]
    if not fault and not network_faults[name] then
      error("chaos.run: there is no fault " .. tostring(name), 3)
    end
    if c.mode == "sim" or not (fault and fault.sim_only) then names[#names + 1] = name end
  end
  if #names == 0 then error("chaos.run: none of these faults can be made here", 3) end
  return names
end

-- Draw faults for so many seconds, with all the verbs of a cluster, then undo them, and wait for a leader.
-- Returns how often each was made: { crash = 12, ... }. Options:
--   seconds   60
--   faults    names, the more often the likelier: all, see above
--   every_ms  { 100, 4000 }: the time between two
--   lasts_ms  { 20, 8000 }: how long each lasts
--   between   called before each with the cluster and the name of what comes
--   seed      that of the run
function chaos.run(c, o)
  o = o or {}
  local names = names_of(o, c)
  local draw = generator(o.seed or math.random(1 << 31))
  local every_ms, lasts_ms = o.every_ms or { 100, 4000 }, o.lasts_ms or { 20, 8000 }
  local busy, made, under_way = {}, {}, {}

  -- In a task of its own: what takes its time holds up nobody.
  local function make(name, id, ms)
    local who, fault = id or "network", node_faults[name]
    busy[who] = true
    made[name] = (made[name] or 0) + 1
    under_way[#under_way + 1] = mk.task.spawn(function()
      if fault then fault.begin(c, id, draw) else network_faults[name](c, draw) end
      mk.task.sleep(ms)
      if fault then fault.finish(c, id) else c:heal() end
      busy[who] = nil
    end)
  end

  local end_ms = c:now_ms() + (o.seconds or 60) * 1000
  while c:now_ms() < end_ms do
    c:run_for(math.min(spread(draw, every_ms), math.max(1, end_ms - c:now_ms())))
    local name, id, ms = names[draw(1, #names)], draw(1, c.n), spread(draw, lasts_ms)
    if network_faults[name] then id = nil end
    if o.between then o.between(c, name) end
    if not busy[id or "network"] then make(name, id, ms) end
  end
  for _, task in ipairs(under_way) do task:join() end
  c:heal()
  c:wait_leader(60000)
  return made
end

return chaos
