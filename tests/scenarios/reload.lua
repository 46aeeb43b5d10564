-- Scripts loaded anew in a cluster that works: nothing is told twice or left out, and leader-only work of two
-- generations never overlaps.
local t = require "moonkeeper.test"
local alone = require "lib.alone"
local chaos = require "lib.chaos"

local TOLD = { scripts = { { script = "tests/scenarios/scripts/told.lua", name = "app" } } }
local BROKEN = { scripts = { { script = "tests/scenarios/scripts/broken.lua", name = "app" } } }
local LISTENERS = { scripts = { { script = "tests/scenarios/scripts/listeners.lua", name = "app" } } }

local function value(c, key)
  local found, err = c:query("kv", "get", { key = key })
  t.eq(err, nil)
  return found and found.value
end

t.describe("reload", function()
  t.it("each commit is told to exactly one generation, whatever fails to load in between", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode, scripts = TOLD.scripts }
    c:start()
    c:wait_leader()
    for i = 1, 40 do
      t.ok(c:propose("kv", "set", { key = ("job/%02d"):format(i), value = i }))
      if i % 4 == 0 then
        local id = i // 4 % 3 + 1
        local apps = t.ok(c:reload(id, i % 16 == 0 and BROKEN or TOLD))
        t.eq(apps[1].outcome, i % 16 == 0 and "failed" or "reloaded")
      end
    end
    c:run_until(function()
      for id = 1, 3 do
        if not value(c, ("told/n%d/job/40"):format(id)) then return false end
      end
      return true
    end, 10000, "all are told of the last")
    for id = 1, 3 do
      for i = 1, 40 do
        t.ok(value(c, ("told/n%d/job/%02d"):format(id, i)), ("n%d was told of %d"):format(id, i))
        t.eq(value(c, ("twice/n%d/job/%02d"):format(id, i)), nil)
      end
    end
    t.eq(value(c, "broken"), nil)
    for id = 1, 3 do
      c:run_until(function()
        return c:node(id):metrics()['moonkeeper_script_told_total{app="app"}'] == 40
      end, 2000, "figures go on")
    end
  end, { modes = { "sim", "real" }, seeds = 3, timeout_ms = 60000 })

  t.it("a script finds the modules on its lua_path, and without it is not loaded", function(mode)
    local script = {
      script = "tests/scenarios/scripts/borrower.lua",
      lua_path = "tests/scenarios/scripts/tree/?.lua",
    }
    local c <close> = t.cluster { n = 1, mode = mode, scripts = { script } }
    c:start()
    c:wait_leader()
    c:run_until(function() return value(c, "greeting") == "hello from n1" end, 5000, "the greeting")
    local bare = t.ok(c:reload(1, { scripts = { script.script } }))
    t.eq(bare[1].outcome, "failed")
    t.match(bare[1].error, "module 'greeting' not found")
    t.eq(t.ok(c:reload(1, { scripts = { script } }))[1].outcome, "reloaded")
  end, { modes = { "sim", "real" } })

  t.it("a commit hook is told nothing of before it, and with an index all from there on", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode }
    c:start()
    local node = c:wait_leader()
    local function told(name) return node:metrics()["moonkeeper_script_" .. name .. '_total{app="app"}'] end
    t.ok(c:propose("kv", "set", { key = "a", value = 1 }))
    local anew = 0 -- by each generation
    for _ = 1, 3 do
      t.ok(c:reload(1, LISTENERS))
      anew = anew + node:status().last_applied
      c:run_until(function() return told "from_one" == anew end, 5000, "all that there is")
      t.eq(told "from_now" or 0, 0)
    end
    t.ok(c:propose("kv", "set", { key = "a", value = 2 }))
    c:run_until(function() return told "from_now" == 1 and told "from_one" == anew + 1 end, 5000, "the next")
  end, { modes = { "sim" } })

  t.it("a bundled script with the configuration that it had goes on, and so does what it runs", function(mode)
    local job = { name = "a", schedule = "@yearly", argv = { "job" } }
    local function setting() return { scripts = { "bundled:cron" }, config = { jobs = { job } } } end
    local c <close> = t.cluster { n = 3, mode = mode, scripts = setting().scripts, config = setting().config }
    c:program("job", { run_ms = 60000 })
    c:start()
    local leader = c:wait_leader()
    t.ok(leader:eval 'return mk.kv.create("cron/requests/a/", true)')
    local program = c:run_until(function() return c:programs("job")[1] end, 10000, "a run")
    local apps = t.ok(c:reload(leader.id, setting()))
    t.eq({ apps[1].outcome, apps[1].generation }, { "unchanged", 1 })
    c:run_for(1000)
    t.eq(program.ended_ms or c:programs("job")[1].ended_ms, nil)
    job.history = 5
    apps = t.ok(c:reload(leader.id, setting()))
    t.eq({ apps[1].outcome, apps[1].generation }, { "reloaded", 2 })
    t.eq({ #c:programs "job", c:programs("job")[1].signal }, { 1, "TERM" })
    c:run_until(function()
      return (value(c, "cron/jobs/a").last or {}).state == "interrupted"
    end, 10000, "its end")
  end, { modes = { "sim" }, timeout_ms = 60000 })

  t.it("a failed one says why, and a node that was down has the new scripts when it starts", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode, scripts = TOLD.scripts }
    c:start()
    c:wait_leader()
    local apps = t.ok(c:reload(1, BROKEN))
    t.eq(apps[1].generation, 1)
    t.match(apps[1].error, "broken.lua:8: broken on purpose")
    c:reload(1, TOLD)
    c:crash(1)
    local duty = { script = "tests/scenarios/scripts/duty.lua", name = "duty" }
    t.err("unreachable", c:reload(1, { scripts = { duty }, config = { pause_ms = 1 } }))
    c:restart(1)
    c:wait_leader()
    c:run_until(function() return value(c, "duty") == "n1" end, 10000, "the other script runs")
  end, { modes = { "sim", "real" } })

  t.it("the program of a leader never runs twice, in chaos", function(mode)
    local worker = { scripts = { { script = "tests/scenarios/scripts/worker.lua", name = "worker" } } }
    local c <close> = t.cluster { n = 3, mode = mode, scripts = worker.scripts }
    c:program("worker", { stop_ms = 400 })
    c:start()
    local reloads = 0
    chaos.run(c, { seconds = 30, between = function()
      local leader = c:leader()
      if leader and leader:alive() and leader:reload(math.random(4) == 1 and worker or nil) then
        reloads = reloads + 1
      end
    end })
    alone.wait_for(c, "worker")
    alone.check(c, "worker")
    t.gt(reloads, 0)
  end, { modes = { "sim" }, seeds = 3, timeout_ms = 300000 })
end)
