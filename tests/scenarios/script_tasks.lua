-- The promises of the bundled script tasks, one by one. In chaos: chaos/tasks.lua.
local t = require "moonkeeper.test"
local tasks = require "lib.tasks"

t.describe("tasks", function()
  t.it("are run once each, by followers, and tell how they ended", function(mode)
    local c <close> = tasks.cluster(mode)
    local leader = tasks.start(c)
    local good, bad = {}, tasks.submit(c, { argv = { "fails" } })
    for i = 1, 10 do good[i] = tasks.submit(c, { argv = { "works", "{id}" } }) end
    for _, id in ipairs(good) do tasks.wait(c, id, "done") end
    local failed = tasks.wait(c, bad, "failed")
    t.eq({ failed.code, failed.output, failed.attempt }, { 3, "oh\n", 1 })
    local runs = c:programs("works")
    t.eq(#runs, 10)
    for _, run in ipairs(runs) do t.ne(run.node, leader.id, "the leader has nothing while others can") end
  end, { seeds = 4, modes = { "sim" } })

  t.it("fill the slots of nodes evenly, and wait for room", function(mode)
    local c <close> = tasks.cluster(mode, { slots = 2 })
    tasks.start(c)
    for _ = 1, 6 do tasks.submit(c, { argv = { "works" } }) end
    c:run_until(function() return #c:programs("works") == 4 end, 5000, "two on each follower")
    c:run_for(300)
    t.eq(#c:programs("works"), 4)
    local by_node = {}
    for _, run in ipairs(c:programs("works")) do by_node[run.node] = (by_node[run.node] or 0) + 1 end
    for _, count in pairs(by_node) do t.eq(count, 2) end
    c:run_until(function() return tasks.count(c, "done") == 6 end, 10000, "all are done")
  end, { seeds = 3, modes = { "sim" } })

  t.it("go where their label is, also if that is the leader", function(mode)
    local c <close> = tasks.cluster(mode, { nodes = { n2 = { labels = { "gpu" } } } })
    tasks.start(c)
    for round = 1, 2 do
      if round == 2 then t.ok(c:transfer(2)) end
      c:wait_leader()
      local before = #c:programs("works")
      tasks.wait(c, tasks.submit(c, { argv = { "works" }, label = "gpu" }), "done")
      t.eq(c:programs("works")[before + 1].node, 2)
    end
    local value = tasks.wait(c, tasks.submit(c, { argv = { "works" }, label = "gppu" }), "failed")
    t.match(value.error, "no node has the label 'gppu'; there are gpu")
    value = tasks.wait(c, tasks.submit(c, { kind = "paint" }), "failed")
    t.match(value.error, "there is no kind 'paint'; there are flaky, greet, hasty, repeated, stubborn, sum")
  end, { seeds = 3, modes = { "sim" } })

  t.it("that are none are failed with what is wrong, and hold up no other", function(mode)
    local c <close> = tasks.cluster(mode)
    tasks.start(c)
    local wrong = {
      { 5, "no table" }, { "text", "no table" }, { { state = "queued" }, "neither a kind nor argv" },
      { { state = "queued", attempt = "x", argv = { "works" } }, "attempt must be of type integer" },
      { { state = "assigned", node = "n2", attempt = 1, argv = { "works", 5 } },
        "argv must be a list of texts" },
      { { state = "running", node = 5, attempt = 1.5, argv = { "works" }, retries = "many" },
        "must be of type" },
    }
    for i, record in ipairs(wrong) do
      t.ok(c:propose("kv", "set", { key = "tasks/task/odd" .. i, value = record[1] }))
    end
    t.ok(c:propose("kv", "set", { key = "tasks/node/n9", value = 5 }))
    for i, record in ipairs(wrong) do t.match(tasks.wait(c, "odd" .. i, "failed").error, record[2]) end
    local short = t.ok(c:propose("kv", "create",
      { prefix = "tasks/task/", value = { state = "queued", argv = { "works" } } }))
    tasks.wait(c, short.key:match "[^/]*$", "done")
    t.eq(#c:events { name = "error" }, 0)
    t.eq(#c:programs("works"), 1)
  end, { seeds = 3, modes = { "sim" } })

  t.it("of a kind are programs or functions, with arguments and results", function(mode)
    local c <close> = tasks.cluster(mode)
    tasks.start(c)
    t.eq(tasks.wait(c, tasks.submit(c, { kind = "sum", args = { 1, 2, 3 } }), "done").result, 6)
    local value = tasks.wait(c, tasks.submit(c, { kind = "sum", args = "x" }), "failed")
    t.match(value.error, "a list of numbers")
    t.eq(tasks.wait(c, tasks.submit(c, { kind = "greet" }), "done").output, "hello\n")
  end, { seeds = 3, modes = { "sim" } })

  t.it("are tried again as often as they say", function(mode)
    local c <close> = tasks.cluster(mode)
    tasks.start(c)
    local value = tasks.wait(c, tasks.submit(c, { kind = "flaky" }), "failed", 20000)
    t.eq({ value.attempt, value.failures }, { 3, 3 })
    t.eq(#c:programs("fails"), 3)
    local timed_out = tasks.wait(c, tasks.submit(c, { argv = { "hangs" }, timeout_ms = 500 }), "failed")
    t.match(timed_out.error, "longer than timeout_ms")
  end, { seeds = 3, modes = { "sim" } })

  t.it("are not tried again before the programs of a handler that failed or was given up end", function(mode)
    local c <close> = tasks.cluster(mode)
    tasks.start(c)
    local function wait_for_runs(name, count)
      c:run_until(function() return #c:programs(name) == count end, 20000, name .. " runs")
    end
    for round, kind in ipairs { "stubborn", "stubborn", "hasty" } do
      local others = { tasks.submit(c, { argv = { "hangs" } }), tasks.submit(c, { argv = { "hangs" } }) }
      wait_for_runs("hangs", 2 * round) -- one on each node that does not lead
      tasks.submit(c, { kind = kind, exclusive = round == 1 })
      wait_for_runs("stubborn", 2 * round - 1)
      local node = "n" .. c:programs("stubborn")[2 * round - 1].node
      for _, id in ipairs(others) do
        if tasks.get(c, id).node ~= node then tasks.cancel(c, id) end
      end
      wait_for_runs("stubborn", 2 * round)
      local first, again = table.unpack(c:programs("stubborn"), 2 * round - 1)
      t.ne(again.node, first.node, "where there is more room now")
      t.ok(first.ended_ms, "not twice at once")
      t.le(first.ended_ms, again.began_ms)
      c:run_for(10000)
      for _, id in ipairs(others) do tasks.cancel(c, id) end
    end
  end, { seeds = 3, modes = { "sim" }, timeout_ms = 100000 })

  t.it("wait for another attempt no longer than they should, whatever the clocks say", function(mode)
    local c <close> = tasks.cluster(mode)
    c:set_wall(nil, 1700000000000)
    local leader = tasks.start(c)
    c:set_wall(leader.id, 1700000000000 - 3600000) -- others say when to try again
    tasks.wait(c, tasks.submit(c, { kind = "flaky" }), "failed", 20000)
  end, { seeds = 3, modes = { "sim" } })

  t.it("are cancelled in every state, and their programs with them", function(mode)
    local c <close> = tasks.cluster(mode, { slots = 1 })
    tasks.start(c)
    local ids = {}
    for i = 1, 4 do ids[i] = tasks.submit(c, { argv = { "hangs" }, exclusive = i % 2 == 0 }) end
    c:run_until(function() return #c:programs("hangs") == 2 end, 5000, "two run, two wait")
    for i = 4, 1, -1 do tasks.cancel(c, ids[i]) end
    for i = 1, 4 do tasks.wait(c, ids[i], "cancelled") end
    for _, run in ipairs(c:programs("hangs")) do t.ok(run.ended_ms, "it was stopped") end
  end, { seeds = 3, modes = { "sim" } })

  -- Its program is ended by that, and begun again on another: the runs.
  local function run_elsewhere(c, exclusive, take_away)
    local id = tasks.submit(c, { argv = { "slow" }, exclusive = exclusive })
    local before = #c:programs("slow")
    c:run_until(function() return #c:programs("slow") == before + 1 end, 5000, "it runs")
    local run = c:programs("slow")[before + 1]
    take_away(run.node)
    tasks.wait(c, id, "done", 30000)
    local first, again = table.unpack(c:programs("slow"), before + 1)
    t.ne(again.node, first.node)
    t.le(first.ended_ms, again.began_ms)
    c:restart(first.node)
    c:run_for(2000)
    return first, again
  end

  t.it("of a node that is stopped are run elsewhere at once, exclusive ones too", function(mode)
    local c <close> = tasks.cluster(mode, { move_after_ms = 60000, lock_ms = 60000 })
    tasks.start(c)
    for round = 1, 2 do
      local first, again = run_elsewhere(c, round == 2, function(id)
        t.ok(c:node(id):eval "return mk.raft.snapshot()")
        c:stop(id)
      end)
      t.le(again.began_ms - first.ended_ms, 1000)
      t.eq(t.ok(c:query("kv", "get", { key = "tasks/node/n" .. first.node })).value.slots, 4,
        "slots of a node that is back, whose snapshot has another number")
    end
  end, { seeds = 3, modes = { "sim" }, timeout_ms = 200000 })

  t.it("of a node that crashed are run elsewhere soon", function(mode)
    local c <close> = tasks.cluster(mode)
    tasks.start(c)
    for round = 1, 2 do
      run_elsewhere(c, round == 2, function(id) c:crash(id) end)
    end
  end, { seeds = 3, modes = { "sim" }, timeout_ms = 200000 })

  t.it("that become more than a command may carry have failed, and say so", function(mode)
    local c <close> = tasks.cluster(mode)
    tasks.start(c)
    local by_result = tasks.submit(c, { kind = "repeated", args = ("x"):rep(1000000) })
    local at_once = tasks.submit(c, { argv = { "works" }, args = ("x"):rep((1 << 20) - 160) })
    for _, id in ipairs { by_result, at_once } do
      local value = tasks.wait(c, id, "failed")
      t.match(value.error, "more than a command may carry")
      t.eq(value.args, nil)
    end
  end, { seeds = 2, modes = { "sim" } })

  t.it("that may be moved are spread over a node that is back, and then stay", function(mode)
    local c <close> = tasks.cluster(mode, { rebalance_ms = 1000 })
    local leader = tasks.start(c)
    local back = leader.id % 3 + 1
    c:crash(back)
    c:run_for(1000)
    for _ = 1, 4 do tasks.submit(c, { argv = { "hangs" }, movable = true }) end
    c:run_until(function() return #tasks.running(c, "hangs") == 4 end, 5000)
    c:restart(back)
    c:run_until(function()
      local here = 0
      for _, run in ipairs(tasks.running(c, "hangs")) do here = here + (run.node == back and 1 or 0) end
      return here == 2
    end, 20000, "two of four are on the node that is back")
    c:run_for(3000)
    local started = #c:programs("hangs")
    c:run_for(10000)
    t.eq(#c:programs("hangs"), started, "nothing is moved any more")
  end, { seeds = 3, modes = { "sim" }, timeout_ms = 200000 })

  t.it("that are over are forgotten, those first that ended first", function(mode)
    local c <close> = tasks.cluster(mode, { history = 5 })
    tasks.start(c)
    local first, last = tasks.submit(c, { argv = { "slow" } }), nil
    for _ = 1, 12 do last = tasks.submit(c, { kind = "sum", args = { 1 } }) end
    tasks.wait(c, last, "done")
    c:run_until(function() return tasks.count(c) == 5 end, 5000, "five are left")
    t.eq(tasks.get(c, last).state, "done")
    t.eq(tasks.wait(c, first, "done").attempt, 1)
    c:run_for(1000)
    t.eq(tasks.get(c, first).state, "done", "it was the last to end")
  end, { seeds = 3, modes = { "sim" } })
end)

t.describe("settings that cannot be", function()
  t.it("are one clear error, and the node runs on", function(mode)
    local function error_of(config)
      local c <close> = t.cluster { mode = mode, n = 1, scripts = { "bundled:tasks" }, config = config }
      c:start()
      local leader = c:wait_leader()
      c:run_for(500)
      local errors = c:events { name = "error" }
      t.eq(#errors, 1)
      t.ok(leader:alive())
      return errors[1].message
    end
    local nodes = { n1 = { labels = { "gpu" } } }
    t.match(error_of { kinds = { a = { argv = { "x" }, label = "gpuu" } }, nodes = nodes },
      "config: kinds.a.label: no node has the label 'gpuu'; there are gpu")
    t.match(error_of { kinds = { a = {} } }, "config: kinds.a must have either argv or handler")
    t.match(error_of { kinds = { a = { handler = "nothing.there" } } },
      "config: kinds.a.handler: there is no function nothing.there")
    t.match(error_of { slot = 3 }, "there is no key 'slot', did you mean 'slots'")
  end, { modes = { "sim" } })
end)
