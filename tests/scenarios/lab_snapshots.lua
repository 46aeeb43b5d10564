-- Snapshots. A snapshot every ten entries, and no log kept beyond it.
local t = require "moonkeeper.test"
local lab = require "lib.lab"

local SEEDS = 10
local EVERY = 10
local LOG_BYTES_MAX = 2000
local snapshots = { snapshot = { entries = EVERY, keep_entries = 0 } }

local serial = 0
local function fresh()
  serial = serial + 1
  return "command " .. serial
end

local function check_log_bytes(c)
  c:run_until(function()
    for id = 1, c.n do
      local node = c:node(id)
      if node:alive() and not c:is_isolated(id) and node:status().snapshot.log_bytes >= LOG_BYTES_MAX then
        return false
      end
    end
    return true
  end, 1000, "logs on disk below " .. LOG_BYTES_MAX .. " bytes")
end

local function start_some(c, sender)
  for _ = 1, EVERY // 2 + math.random(0, EVERY - 1) do c:node(sender):submit(fresh()) end
end

-- Thirty rounds: a victim, the leader itself every third time, misses enough for it to need a snapshot.
local function rounds(network, o)
  local c <close> = lab.cluster(3, network, snapshots)
  local leader = lab.check_one_leader(c).id
  for _ = 1, EVERY do c:node(leader):submit(fresh()) end -- kv's source alone is longer than the log may be
  lab.one(c, fresh(), 3)
  for i = 0, 29 do
    local victim, sender = lab.after(c, leader, 1), leader
    if i % 3 == 1 then victim, sender = sender, victim end
    if o.disconnect then
      lab.disconnect(c, victim)
      lab.one(c, fresh(), 2)
    elseif o.crash then
      c:crash(victim)
      lab.one(c, fresh(), 2)
    end
    start_some(c, sender)
    lab.one(c, fresh(), (o.disconnect or o.crash) and 2 or 3)
    check_log_bytes(c)
    if o.disconnect then
      lab.connect(c, victim)
    elseif o.crash then
      c:restart(victim)
    end
    lab.one(c, fresh(), 3)
    leader = lab.check_one_leader(c).id
  end
  t.gt(#c:events { name = "snapshot" }, 10, "snapshots")
end

t.describe("laboratory: snapshots", function()
  local options = { modes = { "sim" }, seeds = SEEDS, timeout_ms = 600000 }

  t.it("the log stays short", function() rounds(lab.reliable, {}) end, options)
  t.it("a node that was away gets a snapshot", function()
    rounds(lab.reliable, { disconnect = true })
  end, options)
  t.it("the same on an unreliable network", function()
    rounds(lab.unreliable, { disconnect = true })
  end, options)
  t.it("a node that had crashed gets a snapshot", function()
    rounds(lab.reliable, { crash = true })
  end, options)
  t.it("a crashed one, on an unreliable network", function()
    rounds(lab.unreliable, { crash = true })
  end, options)

  t.it("all crash, and go on where they were", function()
    local c <close> = lab.cluster(3, lab.reliable, snapshots)
    lab.one(c, fresh(), 3)
    for _ = 1, 5 do
      start_some(c, lab.check_one_leader(c).id)
      local value = fresh()
      local index = lab.one(c, value, 3)
      for id = 1, 3 do c:crash(id) end
      for id = 1, 3 do c:restart(id) end
      t.gt(lab.one(c, fresh(), 3), index)
    end
  end, options)

  t.it("after a restart the state comes from the snapshot", function()
    local c <close> = lab.cluster(3, lab.reliable, snapshots)
    t.ok(c:propose("kv", "set", { key = "x", value = "kept" }, { timeout_ms = 5000 }))
    for _ = 1, 2 * EVERY do lab.one(c, fresh(), 3) end
    c:run_until(function() return #c:events { name = "snapshot" } >= 3 end, 5000, "a snapshot on each node")
    for id = 1, 3 do c:crash(id, { host = true }) end
    for id = 1, 3 do c:restart(id) end
    local leader = c:wait_leader(5000)
    t.gt(leader:status().snapshot.index, 0, "the snapshot that the node started from")
    t.eq(leader:query("kv", "get", { key = "x" }).value, "kept")
    for id = 1, 3 do c:crash(id, { host = true }) end
    for id = 1, 3 do c:restart(id) end
    lab.one(c, fresh(), 3)
  end, options)
end)
