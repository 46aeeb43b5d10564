-- Programs that scripts run: leader-only ones are over before another may begin, whatever happens to the
-- leader. The world counts them, not the scripts.
local t = require "moonkeeper.test"

local function never_two_at_once(c)
  local runs = c:programs("worker")
  for i, run in ipairs(runs) do
    for j = i + 1, #runs do
      if runs[j].node ~= run.node and (not run.ended_ms or runs[j].began_ms < run.ended_ms) then
        t.fail(("the worker of n%d began at %.3f ms while that of n%d ran")
          :format(runs[j].node, runs[j].began_ms, run.node))
      end
    end
  end
  return runs
end

local function wait_worker(c, other_than)
  return c:run_until(function()
    local runs = c:programs("worker")
    local last = runs[#runs]
    return last and not last.ended_ms and last.node ~= other_than and last or nil
  end, 10000, "a worker")
end

local function cluster()
  return t.cluster { n = 3, scripts = { "tests/scenarios/scripts/worker.lua" } }
end

t.describe("a worker on the leader", function()
  t.it("is never on two nodes at once, through crashes, pauses and partitions", function()
    local c <close> = cluster()
    c:program("worker", { ignores_stop = true })
    c:start()
    for round = 1, 12 do
      local run = wait_worker(c)
      c:run_for(20 * round)
      local undo, moves = nil, true
      if round % 4 == 0 then
        c:pause(run.node)
        undo = c.resume
      elseif round % 4 == 1 then
        c:isolate(run.node)
        undo = c.connect
      elseif round % 4 == 2 then
        c:crash(run.node, { host = round % 8 == 2 })
        undo = c.restart
      else
        moves = c:transfer(run.node % 3 + 1) and true -- not to one that has only just come back
      end
      wait_worker(c, moves and run.node)
      if undo then undo(c, run.node) end
    end
    t.ge(#never_two_at_once(c), 10)
  end, { modes = { "sim" }, seeds = 20, timeout_ms = 600000 })

  t.it("is asked to stop, and has time for it, when leadership is handed over", function()
    local c <close> = cluster()
    c:program("worker", { stop_ms = 400 })
    c:start()
    local run = wait_worker(c)
    c:run_for(50)
    c:stop(run.node)
    wait_worker(c, run.node)
    local runs = never_two_at_once(c)
    t.eq(runs[1].code, 0)
    t.eq(runs[1].arguments, tostring(runs[1].token))
  end, { modes = { "sim" }, seeds = 20 })

  t.it("dies with the node, before its peers are told", function()
    local c <close> = cluster()
    c:program("worker")
    c:start()
    local run = wait_worker(c)
    local mark = c:now_ms()
    c:crash(run.node)
    t.eq(c:programs("worker")[1].signal, "KILL")
    t.lt(c:programs("worker")[1].ended_ms, mark + 1)
    wait_worker(c, run.node)
    never_two_at_once(c)
  end, { modes = { "sim" }, seeds = 20 })

  t.it("is started again when it ends", function()
    local c <close> = cluster()
    c:program("worker", { run_ms = { 100, 200 }, code = 3, stdout = "hello\n" })
    c:start()
    c:run_until(function() return #c:programs("worker") >= 4 end, 10000, "four runs")
    t.eq(c:programs("worker")[1].code, 3)
    never_two_at_once(c)
  end, { modes = { "sim" } })
end)

t.describe("mk.exec.run in simulation", function()
  t.it("returns what the scenario says; what is not there is an error", function()
    local c <close> = t.cluster { n = 1 }
    c:program("greet", { run_ms = 50, code = 2, stdout = "hello", stderr = "oh" })
    c:program("hang", { stop_ms = 10 })
    c:start()
    local node = c:wait_leader()
    t.eq(node:eval [[ local r = mk.exec.run { "greet", "me" }
      return { r.code, r.stdout, r.stderr, r.timed_out } ]], { 2, "hello", "oh", false })
    t.eq(node:eval [[ local r = mk.exec.run({ "hang" }, { timeout_ms = 100 })
      return { r.code, r.timed_out } ]], { 0, true })
    t.match(node:eval [[ return tostring(select(2, mk.exec.run { "nothing" })) ]],
      "cannot run nothing: the scenario has no such program")
    t.eq(c:programs("greet")[1].arguments, "me")
  end, { modes = { "sim" } })

  t.it("is what os.execute and io.popen run, under the name of sh", function()
    local c <close> = t.cluster { n = 1 }
    c:program("sh", { run_ms = 50, code = 2, stdout = "3 files\nin all\n" })
    c:start()
    local node = c:wait_leader()
    t.eq(node:eval [[ return { os.execute "ls | wc -l" } ]], { nil, "exit", 2 })
    t.eq(node:eval [[ local f = io.popen "ls | wc -l"
      return { f:read("n"), f:read("a"), f:close() } ]], { 3, " files\nin all\n", nil, "exit", 2 })
    t.eq(node:eval [[ local f <close> = io.popen("cat", "w")
      return { f:write("lost") == f, f:close() } ]], { true, nil, "exit", 2 })
    t.eq(c:programs("sh")[1].arguments, "-c ls | wc -l")
    t.eq(#c:programs "sh", 3)
    c:program("sh")
    t.eq(node:eval [[ return mk.task.with_timeout(20, os.execute, "sleep 1000") == nil ]], true)
    c:run_until(function() return c:programs("sh")[4].ended_ms end, 1000, "its end")
    t.eq(c:programs("sh")[4].signal, "TERM")
  end, { modes = { "sim" } })

  t.it("a scope is over when what its deferred functions have started is", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode }
    c:program("job", { stop_ms = 1000 })
    c:start()
    t.ok(c:wait_leader():eval [[
      mk.task.scope(function()
        mk.task.defer(function() mk.task.spawn(mk.exec.run, { "job" }):join(100) end)
      end)
      return true
    ]])
    t.eq(c:programs("job")[1].code, 0)
  end, { modes = { "sim" } })

  t.it("what a function has returned counts, though a program it left behind has to be killed", function()
    local c <close> = t.cluster { n = 1 }
    c:program("stubborn", { ignores_stop = true })
    c:start()
    t.eq(c:wait_leader():eval [[
      return mk.task.with_timeout(60000, function()
        assert(mk.exec.spawn { "stubborn" })
        mk.task.sleep(50)
        return "done"
      end)
    ]], "done")
    t.eq(c:programs("stubborn")[1].signal, "KILL")
  end, { modes = { "sim" } })

  t.it("who waits for work that is killed sees all its programs gone", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode }
    c:program("job", { ignores_stop = true })
    c:start()
    local leader = c:wait_leader()
    for _, work in ipairs {
      [[mk.task.scope(function() -- over its budget
        mk.task.spawn(job)
        mk.task.sleep(100)
        while true do end
      end)]],
      [[mk.lock.with("job", function() -- over its time to unwind
        mk.task.defer(function() mk.task.spawn(job):join() end)
      end)]],
    } do
      t.match(leader:eval(([[
        local function job() mk.exec.run({ "job" }, { stop_ms = 2000 }) end
        return tostring(select(2, pcall(function() %s end)))
      ]]):format(work)), "killed")
      local runs = c:programs "job"
      t.eq(runs[#runs].signal, "KILL", "and no sooner")
    end
    t.eq(#c:programs "job", 2)
  end, { modes = { "sim" }, seeds = 5 })
end)
