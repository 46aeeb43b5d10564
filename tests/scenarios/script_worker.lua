-- The bundled script worker: started, started again, stopped in time, handed on.
local t = require "moonkeeper.test"
local alone = require "lib.alone"

t.requires "sim" -- programs

local function cluster(worker, more)
  worker.name, worker.argv = worker.name or "web", worker.argv or { "web", "--port", "80" }
  local config = { workers = { worker } }
  for key, value in pairs(more or {}) do config[key] = value end
  return t.cluster { n = 3, scripts = { "scripts/worker.lua" }, config = config }
end

local function starts(c, name)
  local list = {}
  for i, run in ipairs(c:programs(name)) do list[i] = run.began_ms end
  return list
end

-- What a key holds, or nil.
local function kv(c, key)
  local found, err = c:query("kv", "get", { key = key })
  t.eq(err, nil)
  return type(found) == "table" and found.value or nil
end

t.describe("worker", function()
  t.it("runs on the leader, follows it through crashes, and tells where it is", function()
    local c <close> = cluster { stop_ms = 500 }
    c:program("web", { stop_ms = 100 })
    c:start()
    for _ = 1, 5 do
      local run = alone.wait_for(c, "web")
      t.eq(run.node, c:wait_leader().id)
      t.eq(run.arguments, "--port 80")
      c:run_until(function() return (kv(c, "worker/workers/web") or {}).pid == run.pid end, 2000, "the key")
      t.eq(kv(c, "worker/workers/web").node, "n" .. run.node)
      c:crash(run.node)
      alone.wait_for(c, "web", run.node)
      c:restart(run.node)
    end
    t.eq(#alone.check(c, "web"), 6)
  end, { seeds = 10 })

  t.it("is given its time to stop before the next one starts", function()
    local c <close> = cluster { stop_ms = 4000 }
    c:program("web", { stop_ms = 3000 })
    c:start()
    local first = alone.wait_for(c, "web")
    c:run_for(100)
    c:stop(first.node)
    alone.wait_for(c, "web", first.node)
    local runs = alone.check(c, "web")
    t.eq(runs[1].code, 0)
    t.ge(runs[1].ended_ms - runs[1].began_ms, 3000)
    t.gt(runs[2].token, runs[1].token)
  end, { seeds = 10 })

  t.it("starts again with a pause that doubles up to a limit, and is short after it ran well", function()
    local c <close> = cluster { restart_ms = 100, restart_max_ms = 1000, well_after_ms = 500,
      give_up_after = 0 }
    c:program("web", { run_ms = 50, code = 1 })
    c:start()
    c:run_until(function() return #c:programs("web") >= 7 end, 20000)
    local at, pauses = starts(c, "web"), {}
    for i = 2, 7 do pauses[i - 1] = at[i] - at[i - 1] - 50 end
    for i, expected in ipairs { 100, 200, 400, 800, 1000, 1000 } do
      t.ge(pauses[i], expected)
      t.le(pauses[i], expected + 60)
    end
    c:program("web", { run_ms = 600, code = 1 })
    c:run_until(function() return #c:programs("web") >= 9 end, 20000)
    at = starts(c, "web")
    t.le(at[9] - at[8] - 600, 160)
  end)

  t.it("hands leadership on when this host cannot run it, and not back", function()
    local c <close> = cluster { restart_ms = 100, give_up_after = 3 }
    c:program("web")
    c:start()
    local bad = alone.wait_for(c, "web").node
    c:program("web", { run_ms = 10, code = 127, node = bad })
    c:transfer(bad % 3 + 1)
    alone.wait_for(c, "web", bad)
    t.ok(c:transfer(bad))
    local run = alone.wait_for(c, "web", bad)
    t.eq(kv(c, "worker/given_up/n" .. bad).worker, "web")
    t.eq(kv(c, "worker/given_up/n" .. bad).why, "it exited with 127")
    local mark = c:now_ms()
    c:run_for(60000)
    t.eq(#c:events { name = "leader_ready", since_ms = mark }, 0)
    t.eq(c:leader().id, run.node)
    alone.check(c, "web")
  end, { seeds = 10, timeout_ms = 200000 })

  t.it("a program that is not there counts as one that fails", function()
    local c <close> = cluster { restart_ms = 100, give_up_after = 2 }
    c:program("web", { node = 2 })
    c:start()
    local run = alone.wait_for(c, "web")
    t.eq(run.node, 2)
    for _, key in ipairs { "worker/given_up/n1", "worker/given_up/n3" } do
      local record = kv(c, key)
      if record then t.match(record.why, "cannot run web") end
    end
  end, { seeds = 10 })

  t.it("where no host can run it, leadership goes round once, and then rests", function()
    local c <close> = cluster({ restart_ms = 100, restart_max_ms = 1000, give_up_after = 3 },
      { avoid_ms = 300000 })
    c:program("web", { run_ms = 10, code = 1 })
    c:start()
    c:run_for(30000)
    t.le(#c:events { name = "leader_ready" }, 3)
    local mark, before = c:now_ms(), #c:programs("web")
    c:run_for(200000)
    t.eq(#c:events { name = "leader_ready", since_ms = mark }, 0)
    t.ge(#c:programs("web"), before + 100)
    c:run_for(200000)
    t.ge(#c:events { name = "leader_ready", since_ms = mark }, 1)
  end, { seeds = 3, timeout_ms = 600000 })

  t.it("a node that has run it well again is as good as any other", function()
    local c <close> = cluster { restart_ms = 100, give_up_after = 2, well_after_ms = 1000 }
    c:program("web", { run_ms = 10, code = 1 })
    c:start()
    c:run_until(function() return kv(c, "worker/given_up/n" .. c:wait_leader().id) end, 20000)
    c:program("web")
    local run = alone.wait_for(c, "web")
    c:run_for(1500)
    t.eq(kv(c, "worker/given_up/n" .. run.node), nil)
  end, { seeds = 5 })

  t.it("several run side by side", function()
    local c <close> = t.cluster { n = 3, scripts = { "scripts/worker.lua" }, config = { workers = {
      { name = "a", argv = { "a" } }, { name = "b", argv = { "b" }, restart_ms = 100 } } } }
    c:program("a")
    c:program("b", { run_ms = { 100, 300 } })
    c:start()
    c:run_until(function() return #c:programs("b") >= 3 end, 10000)
    t.eq(#c:programs("a"), 1)
    c:crash(c:leader().id)
    alone.wait_for(c, "a", c:programs("a")[1].node)
    alone.check(c, "a")
    alone.check(c, "b")
  end, { seeds = 5 })

  t.it("a wrong setting is told with its name, and the node runs on", function()
    local function failure(config)
      local c <close> = t.cluster { n = 1, scripts = { "scripts/worker.lua" }, config = config }
      c:start()
      c:wait_leader()
      local app = c:node(1):status().apps[1]
      t.eq(app.state, "failed")
      return app.error
    end
    local function failure_of(...) return failure { workers = { ... } } end
    t.match(failure {}, "workers is missing")
    t.match(failure_of { name = "a", argvs = { "a" } }, "workers%[1%]%.argvs', did you mean 'argv'")
    t.match(failure_of { name = "a" }, "workers%[1%]%.argv is missing")
    t.match(failure_of { name = "a", argv = {} }, "workers%[1%]%.argv must have at least 1")
    t.match(failure_of { name = "a/b", argv = { "a" } }, "a name has letters")
    t.match(failure_of { name = "a", argv = { "a" }, stop_signal = "FOO" }, "stop_signal must be one of TERM")
    t.match(failure_of { name = "a", argv = { "a" }, env = { ["A=B"] = "" } }, "env: 'A=B' is no name")
    t.match(failure_of({ name = "a", argv = { "a" } }, { name = "a", argv = { "b" } }),
      "config: workers%[2%]%.name must be unique, workers%[1%]%.name is 'a' too")
  end)
end)

t.describe("the example of the API", function()
  t.it("runs as it is written", function()
    local c <close> = t.cluster { n = 3, scripts = { "tests/scenarios/scripts/api_worker.lua" },
      config = { worker = { argv = { "web" } } } }
    c:program("web", { stop_ms = 2000 })
    c:start()
    local first = alone.wait_for(c, "web")
    c:run_for(100)
    c:stop(first.node)
    alone.wait_for(c, "web", first.node)
    t.eq(alone.check(c, "web")[1].code, 0)
  end, { seeds = 5 })
end)
