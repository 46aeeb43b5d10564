-- Users' scripts inside a cluster, on its time.
local t = require "moonkeeper.test"
local task = require "moonkeeper.task"

local function value(c, key)
  local found, err = c:query("kv", "get", { key = key })
  t.eq(err, nil)
  return found and found.value
end

t.describe("scripts in a cluster", function()
  t.it("who is on duty follows the leader, across a failover and a day", function(mode)
    local c <close> = t.cluster { mode = mode, scripts = { "tests/scenarios/scripts/duty.lua" },
      config = { pause_ms = 1000 }, heartbeat_ms = 500, election_ms = { 1500, 3000 } }
    c:start()
    local first = c:wait_leader()
    c:run_until(function() return value(c, "duty") == "n" .. first.id end, 10000, "the first on duty")
    c:crash(first.id)
    local second = c:wait_leader(10000)
    t.ne(second, first)
    c:run_until(function() return value(c, "duty") == "n" .. second.id end, 10000, "the second on duty")
    c:run_for(24 * 3600 * 1000 + 1000)
    t.eq(value(c, "hours"), 24)
  end, { seeds = 1, modes = { "sim" }, timeout_ms = 2 * 24 * 3600 * 1000 })

  -- Stop a node; the function tells how long that took, once it is over.
  local function stop(c, id)
    local began_ms, took_ms = c:now_ms(), nil
    task.spawn(function()
      c:stop(id)
      took_ms = c:now_ms() - began_ms
    end)
    return function() return took_ms end
  end

  t.it("who is elected while its shutdown hooks run begins no work, and hands on at their end", function(mode)
    local c <close> = t.cluster { mode = mode, scripts = { "tests/scenarios/scripts/leaver.lua" } }
    c:start()
    local follower = c:wait_leader().id % 3 + 1
    c:run_until(function() return #c:events { name = "leaver.works" } == 1 end, 5000, "the leader works")
    local stopped = stop(c, follower)
    c:run_for(500)
    t.ok(c:transfer(follower))
    c:run_until(stopped, 10000, "it has stopped")
    t.le(stopped(), 2000)
    t.eq(#c:events { name = "leaver.works", node = follower }, 0)
    t.eq(c:events({ name = "step_down", node = follower })[1].reason, "transfer")
  end, { seeds = 3, modes = { "sim" } })

  t.it("what a shutdown hook writes is not waited for when all others have gone", function(mode)
    local c <close> = t.cluster { mode = mode, scripts = { "tests/scenarios/scripts/leaver.lua" } }
    c:start()
    c:wait_leader()
    c:run_for(500)
    local stopped = {}
    for id = 1, 3 do stopped[id] = stop(c, id) end
    c:run_until(function() return stopped[1]() and stopped[2]() and stopped[3]() end, 10000, "all stop")
    for id = 1, 3 do t.le(stopped[id](), 2500, "n" .. id) end
  end, { seeds = 3, modes = { "sim" } })

  t.it("Lua runs on a node, with mk", function(mode)
    local c <close> = t.cluster { mode = mode, n = 1 }
    c:start()
    local leader = c:wait_leader()
    t.eq(leader:eval("mk.info().id"), "n1")
    t.eq(leader:eval("local a, b = ...; mk.task.sleep(10) return a + b", 1, 2), 3)
    t.err("rejected", leader:eval("error('no')"))
  end)

  t.it("a script that has another node lead is told who does, or that it cannot", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:start()
    local first = c:wait_leader()
    local heir = first.id % 3 + 1
    t.eq(first:eval("return mk.raft.transfer_leadership(...)", "n" .. heir), "n" .. heir)
    local second = c:wait_leader()
    local other = c:node(second.id % 3 + 1)
    t.eq(other:eval "local _, err = mk.raft.step_down() return err.code", "not_leader")
    t.eq(second:eval "return mk.raft.step_down()", true)
  end)

  t.it("a write that shows a fencing token is told and watched as any other", function(mode)
    local c <close> = t.cluster { mode = mode, n = 1 }
    c:start()
    local leader = c:wait_leader()
    leader:eval [[
      told, watched = {}, {}
      mk.on("commit", function(ev)
        if ev.cmd then told[#told + 1] = ev.cmd .. " " .. ev.args.key end
      end)
      mk.task.spawn(function()
        for ev in mk.kv.watch "a/" do watched[#watched + 1] = ev.type .. " " .. ev.key end
      end)
      mk.while_leader("writer", function(lead)
        mk.kv.set("a/plain", 1)
        mk.kv.set("a/fenced", 1, { fence = lead.token })
        mk.kv.delete("a/fenced", { fence = lead.token })
      end) ]]
    c:run_until(function() return leader:eval "#watched" == 3 end, 5000, "three changes")
    t.eq(leader:eval "watched", { "set a/plain", "set a/fenced", "delete a/fenced" })
    t.eq(leader:eval "told", { "set a/plain", "set a/fenced", "delete a/fenced" })
  end)

  t.it("a script brings its state machine along, and the next leader goes on with it", function(mode)
    local c <close> = t.cluster { mode = mode, scripts = { "tests/scenarios/scripts/tally.lua" } }
    c:start()
    local first = c:wait_leader()
    local before
    c:run_until(function()
      before = value(c, "terms") -- of each leadership: on a busy machine the first may not be the only one
      return before and before >= 1
    end, 10000, "the first leader has counted")
    c:crash(first.id)
    c:wait_leader(10000)
    c:run_until(function() return (value(c, "terms") or 0) > before end, 10000, "the next has counted on")
    t.gt(t.ok(c:query("tally", "get", { name = "terms" })), before)
  end, { seeds = 2, modes = { "sim", "real" } })
end)
