-- A full disk stops the node that has it, not the cluster.
local t = require "moonkeeper.test"

-- Small values fill the log piece by piece; one that is larger than what is held in reserve gets stuck on its
-- way to the disk.
local sizes = { small = 20000, large = 400000 }

local function write(node, size)
  return node:propose("kv", "set", { key = "k", value = ("x"):rep(size) }, { timeout_ms = 1000 })
end

local function read(node, level)
  return node:query("kv", "get", { key = "k" }, { read = level, timeout_ms = 1000 })
end

local function fill(c, node, size)
  for _ = 1, 1000 do
    if node:status().disk.full then return end
    write(c:wait_leader(), size)
  end
  error(tostring(node) .. " is not full")
end

-- Refused, and not after having waited for its time to be over.
local function refuses(c, node, call, ...)
  local began_ms = c:now_ms()
  local done, err = call(node, ...)
  t.err("no_space", done, err)
  t.match(err.message, "disk of")
  t.lt(c:now_ms() - began_ms, 100)
end

for name, size in pairs(sizes) do
  t.describe("a full disk, " .. name .. " values", function()
    t.it("of the leader: another leads and writes, and the full one says what it cannot do", function(mode)
      local c <close> = t.cluster { n = 3, mode = mode }
      c:start()
      local full = c:wait_leader()
      local term = full:term()
      t.ok(write(full, 1))
      c:disk(full.id, "full")
      fill(c, full, size)
      local began_ms, done = c:now_ms(), nil
      c:run_until(function()
        local leader = c:leader()
        done = leader and leader.id ~= full.id and write(leader, size)
        return done
      end, 2000, "it is written elsewhere")
      t.lt(c:now_ms() - began_ms, 2000)
      local leader = c:wait_leader()
      for _ = 1, 5 do
        t.ok(write(leader, size))
        refuses(c, full, write, 1)
        refuses(c, full, read, "linearizable")
        t.ok(read(full, "local"))
      end
      c:run_for(60000)
      t.eq(c:wait_leader().id, leader.id)
      t.le(c:wait_leader():term(), term + 2)
      c:disk(full.id, "ok")
      c:run_until(function() return (write(full, 1)) end, 5000, "there is room again, so it takes commands")
      t.eq(read(full, "linearizable").value, "x")
      t.ok(c:transfer(full.id))
      t.ok(write(full, size))
    end, { modes = { "sim" }, seeds = 3, timeout_ms = 120000 })

    t.it("of all nodes: leadership does not go round, and all is well once there is room", function(mode)
      local c <close> = t.cluster { n = 3, mode = mode }
      c:start()
      local term = c:wait_leader():term()
      for _, node in ipairs(c:nodes()) do c:disk(node.id, "full") end
      for _ = 1, 1000 do
        local leader = c:leader()
        local args = { key = "k", value = ("x"):rep(size) }
        local done, err = c:propose("kv", "set", args, { timeout_ms = 1000 })
        if not done and (not leader or err.code == "no_space") then break end
      end
      c:run_for(60000)
      local worst = 0
      for _, node in ipairs(c:nodes()) do
        worst = math.max(worst, node:term())
        t.ok(node:alive())
      end
      t.le(worst, term + 6)
      for _, node in ipairs(c:nodes()) do c:disk(node.id, "ok") end
      c:run_until(function()
        for _, node in ipairs(c:nodes()) do
          if not write(node, 1) or not read(node, "linearizable") then return false end
        end
        return true
      end, 10000, "every node takes commands again")
    end, { modes = { "sim" }, seeds = 3, timeout_ms = 120000 })
  end)
end
