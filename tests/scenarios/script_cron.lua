-- The promises of the bundled script cron, one by one. In chaos: chaos/cron.lua.
local t = require "moonkeeper.test"
local cron = require "lib.cron"

local MINUTE, HOUR, DAY = cron.MINUTE, cron.HOUR, cron.DAY
local SIM = { "sim" }

t.describe("cron", function()
  t.it("runs each slot once, on the leader", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "*/10 * * * *" } })
    c:program("job", { run_ms = 1000 })
    cron.set(c, "2024-01-01 12:05")
    c:start()
    c:run_for(HOUR)
    t.eq(cron.states(c, "a"), { "12:10 ok", "12:20 ok", "12:30 ok", "12:40 ok", "12:50 ok", "13:00 ok" })
    local run, leader = cron.runs(c, "a")[1], c:wait_leader()
    t.eq({ run.slot, run.node, run.code, run.attempt }, { "2024-01-01T12:10:00Z", "n" .. leader.id, 0, 1 })
    t.eq(#c:programs "job", 6)
    cron.check_starts(c, 0)
  end, { modes = SIM, timeout_ms = DAY })

  t.it("runs from its file as from the binary, with its modules", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "*/10 * * * *" } },
      { scripts = { "scripts/cron.lua" } })
    c:program("job", { run_ms = 1000 })
    cron.set(c, "2024-01-01 12:05")
    c:start()
    c:run_for(10 * MINUTE)
    t.eq(cron.states(c, "a"), { "12:10 ok" })
  end, { modes = SIM, timeout_ms = DAY })

  t.it("runs what is asked for besides, once, on the next leader too", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "@yearly" } })
    c:program("job", { run_ms = 1000 })
    c:start()
    local old = c:wait_leader(10 * MINUTE)
    c:run_for(MINUTE)
    t.ok(old:eval 'return mk.kv.create("cron/requests/a/", true)')
    cron.settle(c, "a", 1)
    c:crash(old.id)
    t.ok(c:node(old.id % 3 + 1):eval 'return mk.kv.create("cron/requests/a/", true, {timeout_ms = 600000})')
    cron.settle(c, "a", 2)
    c:run_for(10 * MINUTE)
    t.eq(#c:programs "job", 2)
    t.match(cron.runs(c, "a")[1].slot, "Z%+%x+$")
    t.eq(t.ok(c:wait_leader():eval 'return mk.kv.list("cron/requests/")'), {})
  end, { modes = SIM, seeds = 3, timeout_ms = DAY })

  t.it("answers all that is asked for at the same time", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "@yearly" } })
    c:program("job", { run_ms = 5 * MINUTE })
    c:start()
    local leader = c:wait_leader(10 * MINUTE)
    c:run_for(MINUTE)
    t.ok(leader:eval [[ return mk.kv.txn { { op = "set", key = "cron/requests/a/1", value = true },
      { op = "set", key = "cron/requests/a/2", value = true } } ]])
    c:run_for(MINUTE)
    local found = cron.runs(c, "a")
    t.eq({ #found, found[1].state, found[2].state, #c:programs "job" }, { 2, "running", "skipped", 1 })
    t.lt(found[2].ended_ms - found[1].began_ms, 1000)
  end, { modes = SIM, timeout_ms = DAY })

  t.it("gives the program its job, slot and attempt", function(mode)
    local argv = { "sh", "{job}-{slot}", "{other}" }
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "0 * * * *", argv = argv } })
    c:program("sh", { run_ms = 10 })
    cron.set(c, "2024-01-01 12:50")
    c:start()
    c:run_for(20 * MINUTE)
    t.eq(c:programs("sh")[1].arguments, "a-2024-01-01T13:00:00Z {other}")
  end, { modes = SIM, timeout_ms = DAY })

  t.it("keeps no more history than it is told to", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "* * * * *", history = 5 } })
    c:program("job", { run_ms = 1000 })
    cron.set(c, "2024-01-01 12:00")
    c:start()
    c:run_for(31.5 * MINUTE)
    local runs, state = cron.runs(c, "a"), cron.state(c, "a")
    t.eq({ #runs, runs[5].slot }, { 5, "2024-01-01T12:31:00Z" })
    t.eq(state.counts.ok, #c:programs "job")
  end, { modes = SIM, timeout_ms = DAY })
end)

t.describe("cron, when the one before still runs,", function()
  local function overlapping(mode, overlap, minutes)
    local c = cron.cluster(mode, { { name = "a", schedule = "* * * * *", overlap = overlap } })
    c:program("job", { run_ms = 2.5 * MINUTE })
    cron.set(c, "2024-01-01 11:58")
    c:start()
    c:wait_leader(10 * MINUTE)
    cron.settle(c, "a", 0)
    c:run_for(cron.time "2024-01-01 12:00" + minutes * MINUTE - c:wait_leader():eval "mk.time.wall_ms()")
    return c
  end

  t.it("skips the slot", function(mode)
    local c <close> = overlapping(mode, "skip", 6)
    local states = table.concat(cron.states(c, "a"), ", ")
    t.match(states, "12:%d%d ok, 12:%d%d skipped, 12:%d%d skipped, 12:%d%d running")
  end, { modes = SIM, timeout_ms = DAY })

  t.it("queues it", function(mode)
    local c <close> = overlapping(mode, "queue", 10)
    local last = 0
    for _, run in ipairs(c:programs "job") do
      t.ge(run.began_ms, last)
      last = run.ended_ms or last
    end
    local states = table.concat(cron.states(c, "a"), ", ")
    t.match(states, "ok, 12:%d%d ok, 12:%d%d running, 12:%d%d queued, 12:%d%d queued")
  end, { modes = SIM, timeout_ms = DAY })

  t.it("kills the one before", function(mode)
    local c <close> = overlapping(mode, "kill", 4.5)
    local states = table.concat(cron.states(c, "a"), ", ")
    t.match(states, "killed, 12:%d%d killed, 12:%d%d running$")
    t.eq(c:programs("job")[1].signal, "TERM")
  end, { modes = SIM, timeout_ms = DAY })
end)

t.describe("cron, when nobody led at the time,", function()
  -- All nodes are down from 12:05 to 15:05.
  local function after_a_gap(mode, job)
    job.name, job.schedule = "a", "0,30 * * * *"
    local c = cron.cluster(mode, { job })
    c:program("job", { run_ms = 1000 })
    cron.set(c, "2024-01-01 11:55")
    c:start()
    c:run_for(10 * MINUTE)
    for id = 1, 3 do c:crash(id) end
    c:run_for(3 * HOUR)
    c:start()
    c:run_for(10 * MINUTE)
    return c
  end

  t.it("one run makes up for all", function(mode)
    local c <close> = after_a_gap(mode, {})
    t.eq(cron.states(c, "a"), { "12:00 ok", "12:30 missed", "13:00 missed", "13:30 missed", "14:00 missed",
      "14:30 missed", "15:00 ok" })
    t.eq(#c:programs "job", 2)
  end, { modes = SIM, seeds = 3, timeout_ms = DAY })

  t.it("all are run, one after the other", function(mode)
    local c <close> = after_a_gap(mode, { missed = "run_all" })
    t.eq(cron.states(c, "a"), { "12:00 ok", "12:30 ok", "13:00 ok", "13:30 ok", "14:00 ok", "14:30 ok",
      "15:00 ok" })
    local runs = c:programs "job"
    t.eq(#runs, 7)
    for i = 2, 7 do t.ge(runs[i].began_ms, runs[i - 1].ended_ms) end
  end, { modes = SIM, seeds = 3, timeout_ms = DAY })

  t.it("none is run", function(mode)
    local c <close> = after_a_gap(mode, { missed = "skip" })
    t.eq(cron.states(c, "a")[7], "15:00 missed")
    t.eq(#c:programs "job", 1)
  end, { modes = SIM, timeout_ms = DAY })

  t.it("those are run that are still within the window", function(mode)
    local c <close> = after_a_gap(mode, { missed = "skip", window_ms = 70 * MINUTE })
    t.eq(cron.states(c, "a"), { "12:00 ok", "12:30 missed", "13:00 missed", "13:30 missed", "14:00 ok",
      "14:30 ok", "15:00 ok" })
  end, { modes = SIM, timeout_ms = DAY })

  t.it("an election takes nobody's slot away", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "* * * * *", missed = "skip" } },
      { heartbeat_ms = 1000, election_ms = { 3000, 6000 } })
    c:program("job", { run_ms = 1000 })
    cron.set(c, "2024-01-01 12:00")
    c:start()
    c:run_for(10 * MINUTE)
    local leader = c:wait_leader()
    c:run_for(cron.time "2024-01-01 12:13" - 50 - leader:eval "mk.time.wall_ms()")
    c:crash(leader.id, { host = true }) -- just before the slot
    c:run_for(MINUTE)
    for _, run in ipairs(cron.runs(c, "a")) do t.eq(run.state, "ok", run.slot) end
  end, { modes = SIM, seeds = 2, timeout_ms = DAY })
end)

t.describe("cron, when a run fails,", function()
  t.it("tries it again as often as retries says", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "0 * * * *", retries = 2,
      retry_ms = 5000 } })
    c:program("job", { run_ms = 1000, code = 3 })
    cron.set(c, "2024-01-01 11:50")
    c:start()
    c:run_for(20 * MINUTE)
    local run = cron.runs(c, "a")[1]
    t.eq({ run.state, run.code, run.attempt }, { "failed", 3, 3 })
    local runs = c:programs "job"
    t.eq(#runs, 3)
    t.ge(runs[2].began_ms, runs[1].ended_ms + 5000)
    cron.check_starts(c, 2)
  end, { modes = SIM, timeout_ms = DAY })

  t.it("stops what takes too long", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "0 * * * *", timeout_ms = 30000 } })
    c:program("job")
    cron.set(c, "2024-01-01 11:50")
    c:start()
    c:run_for(20 * MINUTE)
    t.eq({ cron.runs(c, "a")[1].state, cron.runs(c, "a")[1].signal }, { "timeout", "TERM" })
  end, { modes = SIM, timeout_ms = DAY })

  t.it("says why a program could not be started", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "0 * * * *" } })
    cron.set(c, "2024-01-01 11:50")
    c:start()
    c:run_for(20 * MINUTE)
    t.eq(cron.runs(c, "a")[1].state, "failed")
    t.match(cron.runs(c, "a")[1].err, "no such program")
  end, { modes = SIM, timeout_ms = DAY })

  t.it("ends the run too when the call that starts the program is refused", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "0 * * * *", argv = { "job", "a\0b" } } })
    cron.set(c, "2024-01-01 11:50")
    c:start()
    c:run_for(20 * MINUTE)
    t.eq(cron.runs(c, "a")[1].state, "failed")
    t.match(cron.runs(c, "a")[1].err, "a string without zero bytes")
  end, { modes = SIM, timeout_ms = DAY })

  for _, how in ipairs { "crash", "isolate", "pause", "stop" } do
    t.it("leaves it interrupted when its node is lost: " .. how, function(mode)
      local c <close> = cron.cluster(mode, { { name = "once", schedule = "0 * * * *" },
        { name = "again", schedule = "1 * * * *", argv = { "again", "{slot}" }, retries = 1 } })
      c:program("job", { run_ms = 5 * MINUTE })
      c:program("again", { run_ms = 5 * MINUTE })
      cron.set(c, "2024-01-01 11:50")
      c:start()
      c:run_until(function() return #c:programs "again" == 1 end, HOUR)
      c[how](c, c:programs("again")[1].node)
      c:run_for(20 * MINUTE)
      local run = cron.runs(c, "once")[1]
      t.eq({ run.state, run.attempt }, { "interrupted", 1 })
      t.eq(#c:programs "job", 1)
      run = cron.runs(c, "again")[1]
      t.eq({ run.state, run.attempt, run.retry_after }, { "ok", 2, "interrupted" })
      t.ne(c:programs("again")[2].node, c:programs("again")[1].node)
      t.ge(c:programs("again")[2].began_ms, c:programs("again")[1].ended_ms)
      if how == "pause" then c:resume(c:programs("again")[1].node) end
    end, { modes = SIM, seeds = 3, timeout_ms = DAY })
  end
end)

t.it("cron goes on after its script was loaded anew; what ran is interrupted", function(mode)
  local job = { name = "a", schedule = "0,10 * * * *", retries = 1 }
  local c <close> = cron.cluster(mode, { job })
  c:program("job", { run_ms = 3 * MINUTE })
  cron.set(c, "2024-01-01 11:50")
  c:start()
  local leader = c:run_until(function() return #c:programs "job" == 1 and c:leader() end, HOUR)
  c:run_for(MINUTE)
  job.history = 50 -- else there is nothing to be loaded
  t.ok(c:reload(leader.id, { scripts = { "bundled:cron" }, config = { jobs = { job } } }))
  c:run_for(20 * MINUTE)
  t.eq(cron.states(c, "a"), { "12:00 ok", "12:10 ok" })
  t.eq({ cron.runs(c, "a")[1].attempt, cron.runs(c, "a")[1].retry_after }, { 2, "interrupted" })
  local runs = c:programs "job"
  t.eq({ #runs, runs[1].signal }, { 3, "TERM" })
  t.ge(runs[2].began_ms, runs[1].ended_ms)
end, { modes = SIM, timeout_ms = DAY })

t.describe("cron, when the leader cannot claim a slot,", function()
  -- The leader's first run of 12:00 fails, is to be tried again after 20 s, and 5 s before that the leader is
  -- cut off: while its lease lasts it believes to lead, but nobody stores its claim.
  local function cut_off_before_a_claim(mode)
    local c = cron.cluster(mode, { { name = "a", schedule = "0 * * * *", retries = 1, retry_ms = 20000 } },
      { heartbeat_ms = 2000 })
    c:program("job", { run_ms = 1000, code = 1 })
    cron.set(c, "2024-01-01 11:50")
    c:start()
    local leader = c:run_until(function() return #c:programs "job" == 1 and c:leader() end, HOUR)
    c:program("job", { run_ms = 2 * MINUTE })
    c:run_for(16000)
    c:isolate(leader.id)
    return c, leader
  end

  t.it("the next one does, and no attempt is made twice", function(mode)
    local c <close>, old = cut_off_before_a_claim(mode)
    c:run_for(10 * MINUTE)
    local runs = cron.check_starts(c, 1) and c:programs "job"
    t.eq(#runs, 2)
    t.ne(runs[2].node, old.id)
    c:connect(old.id)
    c:run_for(MINUTE)
    t.eq({ cron.runs(c, "a")[1].state, cron.runs(c, "a")[1].node }, { "ok", "n" .. runs[2].node })
  end, { modes = SIM, seeds = 2, timeout_ms = DAY })

  t.it("it does as soon as the others are back, though the answer was late", function(mode)
    local c <close>, leader = cut_off_before_a_claim(mode)
    c:run_for(12000)
    c:connect(leader.id)
    c:run_for(10 * MINUTE)
    t.eq(c:wait_leader(), leader)
    local run = cron.runs(c, "a")[1]
    t.eq({ run.state, run.attempt, run.retry_after }, { "ok", 2, "failed" })
    t.eq(#c:programs "job", 2)
  end, { modes = SIM, seeds = 2, timeout_ms = DAY })

  t.it("what was put there by hand and is none of it does no harm", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "0 * * * *" } })
    c:program("job", { run_ms = 1000 })
    cron.set(c, "2024-01-01 11:50")
    c:start()
    local leader = c:wait_leader(10 * MINUTE)
    t.ok(leader:eval [[ return mk.kv.txn {
      { op = "set", key = "cron/jobs/a", value = { schedule = "0 * * * *", tz = "UTC" } },
      { op = "set", key = "cron/runs/a/odd", value = 7 },
      { op = "set", key = "cron/runs/a/queued", value = { state = "queued" } },
    } ]])
    c:run_for(80 * MINUTE)
    t.eq(cron.state(c, "a").counts, { ok = 1 }) -- of 13:00; 12:00 was not known to be due
    t.eq(#c:programs "job", 1)
  end, { modes = SIM, timeout_ms = DAY })

  t.it("what was changed by hand in between is kept, and nothing is lost", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "0 * * * *" } })
    c:program("job", { run_ms = 1000 })
    cron.set(c, "2024-01-01 11:50")
    c:start()
    local leader = c:wait_leader(10 * MINUTE)
    c:run_for(MINUTE)
    t.ok(leader:eval [[ local state = mk.kv.get "cron/jobs/a"
      state.counts.ok = 41
      return mk.kv.set("cron/jobs/a", state) ]])
    c:run_for(20 * MINUTE)
    t.eq(cron.state(c, "a").counts, { ok = 42 })
    t.eq(cron.states(c, "a"), { "12:00 ok" })
  end, { modes = SIM, timeout_ms = DAY })
end)

t.describe("cron and clocks", function()
  t.it("leaders whose clocks are an hour apart start no slot twice", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "*/10 * * * *", missed = "run_all",
      overlap = "queue" } })
    c:program("job", { run_ms = 1000 })
    cron.set(c, "2024-01-01 12:05")
    c:set_wall(2, cron.time "2024-01-01 13:05")
    c:set_wall(3, cron.time "2024-01-01 11:05")
    c:start()
    for _ = 1, 8 do
      c:run_for(14 * MINUTE)
      c:transfer(c:wait_leader(10 * MINUTE).id % 3 + 1)
    end
    c:run_for(HOUR)
    cron.check_starts(c, 0)
    local runs = cron.runs(c, "a")
    for i = 2, #runs do t.eq(runs[i].slot_ms - runs[i - 1].slot_ms, 10 * MINUTE) end
    t.eq(#runs, #c:programs "job")
    t.ge(#runs, 10)
  end, { modes = SIM, seeds = 2, timeout_ms = DAY })

  t.it("a retry waits no longer than retry_ms on a new leader whose clock is behind", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "0 * * * *", retries = 1,
      retry_ms = 5 * MINUTE } })
    c:program("job", { run_ms = 1000, code = 1 })
    cron.set(c, "2024-01-01 11:50")
    c:start()
    local leader = c:wait_leader(10 * MINUTE)
    c:run_until(function() return #c:programs "job" == 1 end, 20 * MINUTE, "the first attempt")
    c:run_for(10000)
    for id = 1, 3 do
      if id ~= leader.id then c:set_wall(id, cron.time "2024-01-01 11:00") end
    end
    c:crash(leader.id)
    c:wait_leader(10 * MINUTE)
    c:run_for(6 * MINUTE)
    t.eq(#c:programs "job", 2)
  end, { modes = SIM, seeds = 2, timeout_ms = DAY })

  t.it("a clock that is set, ahead and back, starts no slot twice and loses none", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "*/10 * * * *", missed = "run_all",
      overlap = "queue" } })
    c:program("job", { run_ms = 1000 })
    cron.set(c, "2024-01-01 12:05")
    c:start()
    c:run_for(20 * MINUTE)
    cron.set(c, "2024-01-01 13:01")
    c:run_for(MINUTE)
    t.eq(#c:programs "job", 6) -- 12:10 ... 13:00
    cron.set(c, "2024-01-01 12:01")
    c:run_for(58 * MINUTE) -- to 12:59
    t.eq(#c:programs "job", 6)
    c:run_for(32 * MINUTE)
    t.eq(#c:programs "job", 9) -- 13:10, 13:20, 13:30
    cron.check_starts(c, 0)
  end, { modes = SIM, seeds = 3, timeout_ms = DAY })

  t.it("a job whose key is deleted begins anew, and runs no slot again that has a record", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "*/10 * * * *", missed = "run_all" } })
    c:program("job", { run_ms = 1000 })
    cron.set(c, "2024-01-01 12:05")
    c:start()
    c:run_for(20 * MINUTE)
    cron.set(c, "2024-01-01 13:01")
    c:run_for(MINUTE)
    cron.set(c, "2024-01-01 12:25")
    local leader = c:wait_leader()
    t.ok(leader:eval 'return mk.kv.delete "cron/jobs/a"')
    c:transfer(leader.id % 3 + 1)
    c:run_for(50 * MINUTE)
    t.eq(#c:programs "job", 7) -- 12:10 ... 13:00, 13:10
    cron.check_starts(c, 0)
  end, { modes = SIM, seeds = 3, timeout_ms = DAY })

  t.it("the night in which clocks are put forward, and that in which they are put back", function(mode)
    local jobs = { { name = "a", schedule = "30 2 * * *", tz = "Europe/Berlin" },
      { name = "b", schedule = "30 * * * *", tz = "Europe/Berlin" } }
    for _, job in ipairs(jobs) do job.argv = { "job", "{slot}", "{attempt}" } end
    local nights = { ["2024-03-30 23:50"] = { "01:00 ok" }, ["2024-10-26 22:50"] = { "00:30 ok" } }
    for began, states in pairs(nights) do
      local c <close> = cron.cluster(mode, jobs)
      c:program("job", { run_ms = 1000 })
      cron.set(c, began)
      c:start()
      c:run_for(4 * HOUR)
      t.eq(cron.states(c, "a"), states)
      t.eq(#cron.runs(c, "b"), 4) -- goes by the time that passes
    end
  end, { modes = SIM, timeout_ms = DAY })
end)

t.describe("cron's settings", function()
  local function failure(mode, jobs)
    local c <close> = t.cluster { n = 1, mode = mode, scripts = { "bundled:cron" }, config = { jobs = jobs } }
    c:start()
    local node = c:wait_leader()
    c:run_for(300)
    t.ok(c:propose("kv", "set", { key = "a", value = 1 })) -- the node runs on
    local app = t.ok(node:status()).apps[1]
    return app.state == "failed" and app.error
  end

  t.it("a mistake is one error that says where and what would be right", function(mode)
    local good = { name = "a", schedule = "@daily", argv = { "x" } }
    t.eq(failure(mode, { good }), false)
    t.match(failure(mode, { good, { name = "b", schedul = "@daily", argv = { "x" } } }),
      "config: there is no key 'jobs%[2%]%.schedul', did you mean 'schedule'%?")
    t.match(failure(mode, { { name = "a", schedule = "0 0 31 2 *", argv = { "x" } } }), "config: jobs%[1%]%."
      .. "schedule: cron expression '0 0 31 2 %*': day of month: '31' never comes in month '2'")
    t.match(failure(mode, { { name = "a", schedule = "@daily" } }), "config: jobs%[1%]%.argv is missing")
    t.match(failure(mode, { { name = "a", schedule = "@daily", argv = {} } }),
      "config: jobs%[1%]%.argv must have at least 1")
    t.match(failure(mode, { { name = "a", schedule = "@daily", argv = { "x" }, overlap = "skp" } }),
      "config: jobs%[1%]%.overlap must be one of skip, queue, kill, it is skp")
    t.match(failure(mode, { { name = "a", schedule = "@daily", argv = { "x" }, tz = "Europe/Berln" } }),
      "config: jobs%[1%]%.tz: ")
    t.match(failure(mode, { { name = "a", schedule = "@daily", argv = { "x" }, env = { ["A=B"] = "x" } } }),
      "config: jobs%[1%]%.env: 'A=B' is no name of a variable")
    t.match(failure(mode, { good, good }),
      "config: jobs%[2%]%.name must be unique, jobs%[1%]%.name is 'a' too")
    t.match(failure(mode, { { name = "a b", schedule = "@daily", argv = { "x" } } }),
      "config: jobs%[1%]%.name: a name has letters")
  end, { modes = SIM, timeout_ms = DAY })

  t.it("keys of jobs that nobody knows any more, however odd, keep no job from running", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "* * * * *" } })
    c:program("job", { run_ms = 10 })
    cron.set(c, "2024-01-01 12:05")
    c:start()
    local leader = c:wait_leader(10 * MINUTE)
    t.ok(leader:eval [[ assert(mk.kv.set("cron/jobs/number", 1))
      assert(mk.kv.set("cron/jobs/empty", {}))
      return mk.kv.set("cron/jobs/gone", { schedule = "@daily", tz = "Lost/Island", argv = { "job" },
        history = 10, considered_ms = 1, counts = {} }) ]])
    c:transfer(leader.id % 3 + 1)
    c:run_for(10 * MINUTE)
    t.eq({ cron.state(c, "gone").removed, cron.state(c, "a").name }, { true, "a" })
    local before = #c:programs "job"
    c:run_for(10 * MINUTE)
    t.eq(#c:programs "job", before + 10)
  end, { modes = SIM, timeout_ms = DAY })

  t.it("a schedule that has changed begins anew; a job that is gone stays in the history", function(mode)
    local c <close> = cron.cluster(mode, { { name = "a", schedule = "@yearly" } })
    c:program("job", { run_ms = 10 })
    cron.set(c, "2024-01-01 12:05")
    c:start()
    local leader = c:wait_leader(10 * MINUTE)
    local old = [[local slot = mk.time.wall_ms() - 10 * 3600 * 1000
      local function set(name, schedule)
        assert(mk.kv.set("cron/jobs/" .. name, { schedule = schedule, tz = "UTC", argv = { "job" },
          overlap = "skip", missed = "run_all", window_ms = 1000, history = 10, considered_ms = slot,
          counts = {} }))
        assert(mk.kv.set("cron/runs/" .. name .. "/x", { slot = "x", slot_ms = slot, state = "running",
          attempt = 1 }))
        assert(mk.kv.set("cron/runs/" .. name .. "/y", { slot = "y", slot_ms = slot, state = "queued",
          attempt = 0 }))
      end
      set("a", "* * * * *") set("gone", "* * * * *")
      return true]]
    t.ok(leader:eval(old))
    c:transfer(leader.id % 3 + 1)
    c:run_until(function() return (cron.state(c, "gone") or {}).removed end, HOUR)
    c:run_for(5 * MINUTE)
    t.eq({ cron.state(c, "gone").counts, cron.state(c, "a").schedule },
      { { interrupted = 1, skipped = 1 }, "@yearly" })
    local runs = c:programs "job"
    t.eq(#runs, 1) -- what was queued of the old one
    t.eq(cron.state(c, "a").counts, { interrupted = 1, ok = 1 })
  end, { modes = SIM, timeout_ms = DAY })
end)

t.it("a simulated week of cron with 50 failovers: every slot is accounted for", function(mode)
  local SLOTS = 7 * 24 * 6
  local job = { name = "a", schedule = "*/10 * * * *", missed = "run_all", overlap = "queue", retries = 1,
    history = SLOTS + 10 }
  local c <close> = cron.cluster(mode, { job }, { heartbeat_ms = 20000, election_ms = { 60000, 120000 } })
  c:program("job", { run_ms = { 1000, 8 * MINUTE } })
  cron.set(c, "2024-01-01 00:00")
  c:start()
  c:wait_leader(10 * MINUTE)
  local begin_ms = c:now_ms()
  for failover = 1, 50 do
    c:run_for(math.floor(failover * 7 * DAY / 51) - (c:now_ms() - begin_ms) + math.random(HOUR))
    local leader = c:wait_leader(30 * MINUTE)
    c:crash(leader.id, { host = failover % 2 == 0 })
    c:wait_leader(30 * MINUTE)
    c:restart(leader.id)
  end
  c:run_for(math.max(0, 7 * DAY + HOUR - c:now_ms()))
  local runs, states, starts = cron.runs(c, "a"), {}, cron.check_starts(c, 1)
  for i, run in ipairs(runs) do
    states[run.state] = (states[run.state] or 0) + 1
    if i > 1 then t.eq(run.slot_ms - runs[i - 1].slot_ms, 10 * MINUTE, "no slot is left out") end
    t.eq(starts[run.slot] or 0, run.attempt, run.slot)
  end
  t.ge(#runs, SLOTS)
  t.eq({ ok = states.ok, interrupted = states.interrupted }, states) -- nothing else became of any
end, { modes = SIM, timeout_ms = 8 * DAY })
