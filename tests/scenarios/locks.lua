-- Leases, locks and watches of scripts, through crashes, partitions and lost leaders.
local mk = require "moonkeeper"
local t = require "moonkeeper.test"

-- A lock is held from its "held" to its "left"; on a node that crashes, to the crash.
local function holdings(c, crashes)
  local list = {}
  for _, ev in ipairs(c:events { name = "lock.held" }) do
    list[#list + 1] = { token = ev.payload.token, node = ev.node, from = ev.time_ms, to = math.huge }
  end
  for _, ev in ipairs(c:events { name = "lock.left" }) do
    for _, h in ipairs(list) do
      if h.token == ev.payload.token then h.to = math.min(h.to, ev.time_ms) end
    end
  end
  for _, crash in ipairs(crashes) do
    for _, h in ipairs(list) do
      if h.node == crash.node and h.from <= crash.at then h.to = math.min(h.to, crash.at) end
    end
  end
  table.sort(list, function(a, b) return a.token < b.token end)
  return list
end

local function check_alone(list)
  for i = 2, #list do
    t.le(list[i - 1].to, list[i].from, "one holder at a time, in the order of tokens")
  end
end

t.describe("locks", function()
  t.it("one node at a time holds a lock, and all have their turn", function(mode)
    local c <close> = t.cluster { mode = mode, scripts = { "tests/scenarios/scripts/locked.lua" } }
    c:start()
    c:wait_leader()
    c:run_for(10000)
    local list, turns = holdings(c, {}), {}
    t.ge(#list, 20)
    for _, h in ipairs(list) do turns[h.node] = (turns[h.node] or 0) + 1 end
    check_alone(list)
    for id = 1, 3 do t.ge(turns[id], #list // 3 - 1, "who waits is served in order") end
    t.eq(#c:events { name = "lock.missed" }, 0)
  end, { seeds = 5, modes = { "sim" } })

  t.it("crashes and partitions never give a lock to two", function(mode)
    local c <close> = t.cluster { mode = mode, n = 5, scripts = { "tests/scenarios/scripts/locked.lua" } }
    local crashes = {}
    c:start()
    for round = 1, 8 do
      local leader = c:wait_leader(10000)
      c:run_for(1500)
      if round % 2 == 1 then
        crashes[#crashes + 1] = { node = leader.id, at = c:now_ms() }
        c:crash(leader.id)
        c:run_for(3000)
        c:restart(leader.id)
      else
        c:isolate(leader.id)
        c:run_for(5000)
        c:heal()
      end
    end
    c:wait_leader(10000)
    local before = #holdings(c, crashes)
    c:run_for(10000)
    local list = holdings(c, crashes)
    check_alone(list)
    t.ge(#list, before + 10, "and afterwards it goes round again")
  end, { seeds = 10, modes = { "sim" }, timeout_ms = 200000 })

  t.it("who gives up waiting holds up nobody", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:start()
    local leader = c:wait_leader()
    local gave_up, late, others_ms = table.unpack(t.ok(leader:eval [[
      local held = assert(mk.lock.acquire("job", { ttl_ms = 60000 }))
      local _, err = mk.task.with_timeout(500, function() mk.lock.acquire("job", { ttl_ms = 60000 }) end)
      local _, late = mk.lock.acquire("job", { timeout_ms = 500 })
      held:release()
      local since_ms = mk.time.now_ms()
      local mine = mk.lock.acquire("job", { timeout_ms = 30000 })
      return { err.code, tostring(late), mine and mk.time.now_ms() - since_ms or -1 }
    ]]))
    t.eq(gave_up, "timeout")
    t.eq(late, "timeout: the lock job was not free in time")
    t.ge(others_ms, 0, "the lock is given to another")
    t.le(others_ms, 1000)
  end, { seeds = 5, modes = { "sim" } })

  t.it("a lock goes to the next when what ran under it has ended", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:program("job", { stop_ms = 3000 })
    c:start()
    t.ok(c:wait_leader():eval [[
      local holder = mk.task.spawn(function()
        mk.lock.with("job", {}, function() mk.exec.run({ "job" }, { stop_ms = 5000 }) end)
      end)
      mk.task.sleep(500)
      holder:cancel()
      return mk.lock.acquire("job", { timeout_ms = 20000 }) and true
    ]])
    local job = c:programs("job")[1]
    t.ok(job.ended_ms, "the job has ended by the time another has the lock")
    t.ge(job.ended_ms - job.began_ms, 3000)
    t.le(c:now_ms() - job.ended_ms, 100, "and no later")
  end, { seeds = 5, modes = { "sim" } })

  t.it("what ran under it includes what its tasks have started", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:program("job", { ignores_stop = true })
    c:start()
    local leader = c:wait_leader()
    local function check(stop_ms, fn)
      t.eq(leader:eval(([[
        local function job() mk.exec.run({ "job" }, { stop_ms = %d }) end
        local function timed_out() return select(2, mk.task.with_timeout(500, job)).code end
        local result = assert(mk.lock.with("job", {}, %s))
        return mk.lock.with("job", {}, function() return result end)
      ]]):format(stop_ms, fn)), "timeout")
      local runs = c:programs "job"
      local ended_ms = t.ok(runs[#runs].ended_ms, "the job has ended by the time another has the lock")
      t.le(c:now_ms() - ended_ms, 100, "and no later")
    end
    check(2000, "timed_out")
    check(5000, "timed_out") -- for as long as it may take at most
    check(2000, "function() mk.task.spawn(job) mk.task.sleep(500) return 'timeout' end")
    check(2000, "function() return mk.task.spawn(timed_out):join() end")
  end, { seeds = 5, modes = { "sim" } })

  t.it("it is kept for as long as that takes, even when its holder was given up", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:program("job", { stop_ms = 4000 })
    c:start()
    t.ok(c:wait_leader():eval [[
      local holder = mk.task.spawn(function()
        mk.lock.with("job", { ttl_ms = 1000 }, function() mk.exec.run({ "job" }, { stop_ms = 4500 }) end)
      end)
      mk.task.sleep(500)
      holder:cancel() -- and is gone at once
      return mk.lock.acquire("job", { timeout_ms = 20000 }) and true
    ]])
    local job = c:programs("job")[1]
    t.ok(job.ended_ms, "the job has ended by the time another has the lock")
    t.eq(job.code, 0, "undisturbed, four times as late as the lock would have ended")
    t.le(c:now_ms() - job.ended_ms, 100)
  end, { seeds = 5, modes = { "sim" } })

  t.it("programs of a holder that is stopped or cut off end before another has the lock", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:program("job", { ignores_stop = true })
    c:start()
    c:wait_leader()
    local holds = [[ mk.lock.with("job", { ttl_ms = 2000 }, function() mk.exec.run { "job" } end) ]]
    for round = 1, 6 do
      local first, second = round % 3 + 1, (round + 1) % 3 + 1
      mk.task.spawn(function() c:node(first):eval(holds) end)
      local before = #c:programs("job")
      c:run_until(function() return #c:programs("job") > before or nil end, 10000, "the first runs")
      mk.task.spawn(function() c:node(second):eval(holds) end)
      c:run_for(100)
      if round % 2 == 1 then c:pause(first) else c:isolate(first) end
      c:run_until(function() return #c:programs("job") > before + 1 or nil end, 10000, "the second runs")
      local runs = c:programs("job")
      local killed = runs[before + 1]
      t.eq(killed.signal, "KILL")
      t.le(killed.ended_ms, runs[before + 2].began_ms, "one after the other")
      c:resume(first)
      c:heal()
      c:crash(second)
      c:restart(second)
      c:wait_leader(10000)
    end
  end, { seeds = 3, modes = { "sim" }, timeout_ms = 200000 })

  t.it("programs under locks in each other end before another has any of them", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:program("job", { ignores_stop = true })
    c:start()
    c:wait_leader()
    for round, ttls_ms in ipairs { { 2000, 60000 }, { 60000, 2000 }, { 2000, 60000 } } do
      local first = round % 3 + 1
      mk.task.spawn(function()
        c:node(first):eval(([[
          mk.lock.with("outer%d", { ttl_ms = %d }, function()
            mk.lock.with("inner%d", { ttl_ms = %d }, function() mk.exec.run { "job" } end)
          end)
        ]]):format(round, ttls_ms[1], round, ttls_ms[2]))
      end)
      c:run_until(function() return c:programs("job")[round] end, 10000, "the job runs")
      c:run_for(5000)
      t.eq(c:programs("job")[round].ended_ms, nil, "they are kept")
      c:pause(first)
      c:run_for(2000)
      t.eq(c:programs("job")[round].signal, "KILL", "the shorter one has run out")
      c:resume(first)
      c:wait_leader(10000)
    end
  end, { seeds = 3, modes = { "sim" } })

  t.it("a lock survives a time without a leader that is shorter than its own", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:start()
    local holder = c:node(c:wait_leader().id % 3 + 1)
    local work = mk.task.spawn(function()
      return holder:eval [[
        return mk.lock.with("job", { ttl_ms = 6000 }, function() mk.task.sleep(20000) return "done" end)
      ]]
    end)
    c:run_for(1950) -- it is kept every two seconds, from the first moment on
    c:isolate(holder.id)
    c:run_for(2100)
    c:heal()
    t.eq(work:join(), "done")
  end, { seeds = 20, modes = { "sim" } })

  t.it("an error of the work is told as it is, though the lock is lost while all stops", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:program("job", { stop_ms = 4000 })
    c:start()
    local holder = c:node(c:wait_leader().id % 3 + 1)
    local work = mk.task.spawn(function()
      return holder:eval [[
        local ok, err = pcall(mk.lock.with, "job", { ttl_ms = 1000 }, function()
          mk.exec.spawn({ "job" }, { stop_ms = 4500 })
          mk.task.sleep(1000)
          error("of its own", 0)
        end)
        return tostring(err)
      ]]
    end)
    c:run_for(1100)
    c:isolate(holder.id)
    t.eq(work:join(), "of its own")
  end, { seeds = 5, modes = { "sim" } })

  t.it("waiting for a lock takes no longer than it may", function(mode)
    local c <close> = t.cluster { mode = mode, latency_ms = { 200, 200 }, election_ms = { 3000, 6000 },
      heartbeat_ms = 1000 }
    c:start()
    local took_ms, code = table.unpack(t.ok(c:wait_leader(30000):eval [[
      assert(mk.kv.set("warm", 1))
      local since_ms = mk.time.now_ms()
      local held, err = mk.lock.acquire("job", { timeout_ms = 600 })
      return { mk.time.now_ms() - since_ms, held and "held" or err.code }
    ]]))
    t.ge(took_ms, 600)
    t.le(took_ms, 620)
    t.eq(code, "outcome_unknown", "one round trip was enough for the lease, not for the ticket")
  end, { seeds = 5, modes = { "sim" } })

  t.it("whoever waits for the end of a lease that nobody keeps any more hears of it", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode }
    c:start()
    local ended = c:wait_leader():eval [[ local lease
      mk.task.spawn(function() lease = assert(mk.lease.grant(1000)) end):join()
      return { ended = lease:wait_end(3000), valid = lease:valid() } ]]
    t.eq(ended, { ended = true, valid = false })
  end, { modes = { "sim", "real" } })

  t.it("a lease outlives the death of a leader by what it had left", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:start()
    local leader = c:wait_leader()
    local granted = c:propose("kv", "lease_grant", { ttl_ms = 3000 })
    t.ok(c:propose("kv", "set", { key = "k", value = 1, lease = granted.id }))
    c:run_for(2000)
    c:crash(leader.id)
    c:wait_leader()
    local elected_ms = c:now_ms()
    c:run_for(500)
    t.ok(c:query("kv", "get", { key = "k" }))
    c:run_until(function() return not c:query("kv", "get", { key = "k" }) end, 10000, "the lease to end")
    local took_ms = c:now_ms() - elected_ms
    t.ge(took_ms, 900)
    t.le(took_ms, 3500, "nothing but the time without a leader, and what was not yet in the log, is added")
  end, { seeds = 20, modes = { "sim" } })
end)

t.describe("watches", function()
  local function mirrors_agree(c)
    local since_ms = c:now_ms()
    local want = {}
    for _, item in ipairs(c:query("kv", "list", { prefix = "w/", limit = 1000 }).items) do
      want[item.key] = item.value
    end
    for id = 1, 3 do c:node(id):eval("mk.emit('mirror.ask')") end
    c:run_until(function() return #c:events { name = "mirror.told", since_ms = since_ms } >= 3 end, 1000)
    local agree = true
    for _, ev in ipairs(c:events { name = "mirror.told", since_ms = since_ms }) do
      agree = agree and pcall(t.eq, ev.payload.keys, want)
    end
    return agree
  end

  t.it("a slow reader of a long list is told it once", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:start()
    local leader = c:wait_leader()
    for first = 0, 4224, 128 do
      local ops = {}
      for i = first, first + 127 do ops[#ops + 1] = { op = "set", key = "w/" .. i, value = i } end
      t.ok(c:propose("kv", "txn", { ops = ops }))
    end
    local told = t.ok(leader:eval [[
      local told = { gap = 0, set = 0 }
      for ev in mk.kv.watch("w/", { initial = true }) do
        if ev.type == "synced" then return told end
        told[ev.type] = told[ev.type] + 1
        if told.set % 100 == 1 then assert(mk.kv.set("w/0", told.set)) end
      end
    ]])
    t.eq(told, { gap = 0, set = 4352 })
  end, { modes = { "sim" } })

  t.it("what is written under a fencing token is told as well", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:start()
    local told = t.ok(c:wait_leader():eval [[
      local changes <close> = mk.kv.watch("w/")
      mk.while_leader("writer", function(lead) assert(mk.kv.set("w/1", "fenced", { fence = lead.token })) end)
      local ev = assert(changes:next(1000))
      return { ev.type, ev.key, ev.value }
    ]])
    t.eq(told, { "set", "w/1", "fenced" })
  end, { modes = { "sim" } })

  t.it("a reader that was left behind is told so once, and what there is", function(mode)
    local c <close> = t.cluster { mode = mode }
    c:start()
    local leader = c:wait_leader()
    local told = t.ok(leader:eval [[
      local told = {}
      local changes <close> = mk.kv.watch("w/")
      local ops = {}
      for i = 1, 128 do ops[i] = { op = "set", key = "w/" .. i, value = i } end
      for _ = 1, 40 do assert(mk.raft.propose("kv", "txn", { ops = ops })) end
      for ev in changes do
        if ev.type == "gap" then assert(mk.kv.set("w/1", "new")) end
        told[ev.type] = (told[ev.type] or 0) + 1
        if ev.type == "synced" then return told end
      end
    ]])
    t.eq(told, { gap = 1, set = 128, synced = 1 })
  end, { modes = { "sim" } })

  t.it("a watch misses nothing, not even through snapshots and restarts", function(mode)
    local c <close> = t.cluster { mode = mode, scripts = { "tests/scenarios/scripts/mirror.lua" },
      snapshot = { entries = 20, keep_entries = 5 } }
    c:start()
    local n = 0
    local function change(count)
      for _ = 1, count do
        n = n + 1
        local key = "w/" .. n * 7 % 10
        if n % 4 == 0 then
          t.ok(c:propose("kv", "delete", { key = key }))
        elseif n % 9 == 0 then
          c:propose("kv", "set", { key = key, value = "never", if_version = 1 })
        elseif n % 5 == 0 then
          t.ok(c:propose("kv", "txn", { ops = { { op = "set", key = key, value = n },
            { op = "delete", key = "w/" .. n * 3 % 10 }, { op = "set", key = "other", value = n } } }))
        else
          t.ok(c:propose("kv", "set", { key = key, value = n }))
        end
      end
    end
    c:wait_leader()
    for round = 1, 4 do
      change(10)
      c:run_until(function() return mirrors_agree(c) end, 5000, "all mirrors to agree")
      local id = round % 3 + 1
      c:crash(id)
      c:wait_leader(10000)
      change(40)
      c:restart(id)
    end
    change(10)
    c:run_until(function() return mirrors_agree(c) end, 5000, "all mirrors to agree")
    t.eq(#c:events { name = "error" }, 0)
  end, { seeds = 10, modes = { "sim" }, timeout_ms = 200000 })
end)
