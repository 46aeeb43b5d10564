-- scripts/notify.lua: what happens to the cluster is told to somebody, once it is accepted no more.
local t = require "moonkeeper.test"
local notices = require "lib.notices"

local QUICK = { retry_ms = 50, retry_max_ms = 200, timeout_ms = 500, window_ms = 1 }

local function config(changes)
  local o = {}
  for name, value in pairs(QUICK) do o[name] = value end
  for name, value in pairs(changes or {}) do o[name] = value end
  return o
end

local function find(c, id)
  for _, notice in ipairs(notices.received(c)) do
    if notice.id == id then return notice end
  end
end

local function wait_for(c, id)
  return c:run_until(function() return find(c, id) end, 10000, id)
end

t.describe("an election", function()
  t.it("is told once, whoever leads by then", function(mode)
    local c <close> = notices.cluster(mode, config { events = { "leader_elected" } })
    c:http_server(notices.URL, { latency_ms = { 1, 20 } })
    c:start()
    for round = 1, 3 do
      local leader = c:wait_leader(10000)
      local notice = wait_for(c, "leader_elected-" .. leader:term())
      t.eq(notice.about.leader_id, tostring(leader))
      t.eq(notice.text, ("%s leads in term %d"):format(leader, leader:term()))
      c:crash(leader.id)
      c:wait_leader(10000)
      if round < 3 then c:restart(leader.id) end
    end
    notices.check(c, 50)
    local seen = {}
    for _, notice in ipairs(notices.received(c)) do
      local is_new = not seen[notice.id] or mode == "real" or notice.token > seen[notice.id]
      t.ok(is_new, "told twice: " .. notice.id)
      seen[notice.id] = notice.token
    end
  end, { modes = { "sim", "real" }, seeds = 10 })

  t.it("is told by the next leader when the receiver had nothing to say to this one", function(mode)
    local c <close> = notices.cluster(mode, config())
    c:http_server(notices.URL, { down = true })
    c:start()
    local old = c:wait_leader()
    local id = "leader_elected-" .. old:term()
    c:run_until(function() return notices.logged(c)[id] end, 10000, "it is in the log")
    c:crash(old.id)
    local new = c:wait_leader(10000)
    c:http_server(notices.URL, { status = { 500, 503, 200 } })
    wait_for(c, id)
    wait_for(c, "leader_elected-" .. new:term())
    notices.check(c, 50)
  end, { modes = { "sim", "real" }, seeds = 10 })

  t.it("is not told again when it was accepted during a reload, and the log had no room", function(mode)
    local c <close> = notices.cluster(mode, config { events = { "leader_elected" } },
      { n = 1, script = "tests/scenarios/scripts/late_notify.lua" })
    c:http_server(notices.URL, { latency_ms = { 400, 400 } })
    c:start()
    local node = c:wait_leader()
    wait_for(c, "leader_elected-" .. node:term())
    c:disk(1, "full")
    c:run_until(function()
      node:propose("kv", "set", { key = "k", value = ("x"):rep(20000) }, { timeout_ms = 10 })
      return node:status().disk.full
    end, 300, "it refuses commands")
    t.eq(t.ok(c:reload(1))[1].outcome, "reloaded")
    c:disk(1, "ok")
    c:run_for(5000)
    t.eq(#notices.received(c), 1)
    notices.check(c, 50)
  end, { modes = { "sim" }, seeds = 3 })
end)

t.describe("what was accepted when the lease lapsed", function()
  t.it("is not sent again by the leader that leads on", function(mode)
    local c <close> = notices.cluster(mode, config { events = { "member_added" } },
      { spares = 1, election_ms = { 3000, 6000 } })
    c:http_server(notices.URL, { latency_ms = 20 })
    c:start()
    local leader = c:wait_leader(20000)
    local term = leader:term()
    t.ok(c:add(4, { voter = false }))
    c:run_until(function() return #notices.received(c) == 1 end, 10000, "it is told")
    c:isolate(leader.id) -- what the receiver says is heard, and not committed
    c:run_for(2850) -- leases are shorter, by the drift of clocks; nobody campaigns before 2950
    for id = 1, 3 do
      if id ~= leader.id then c:disk(id, "slow", { ms = 200 }) end
    end
    c:heal() -- and the lease is renewed long before the entry is on their disks
    c:run_for(1000)
    notices.check(c, 60)
    notices.check_heard(c)
    t.eq(#notices.received(c), 1)
    t.eq(c:wait_leader():term(), term, "it leads in the same term")
  end, { modes = { "sim" }, seeds = 5 })
end)

t.describe("a leader that loses its quorum", function()
  t.it("says so at once, and tells nobody twice", function(mode)
    local c <close> = notices.cluster(mode, config { events = { "quorum_lost", "quorum_regained" } })
    c:http_server(notices.URL)
    c:start()
    local leader = c:wait_leader()
    c:isolate(leader.id)
    c:run_until(function() return #notices.received(c) == 1 end, 10000, "told while it is alone")
    t.eq(notices.received(c)[1].event, "quorum_lost")
    t.eq(notices.received(c)[1].node, leader.id)
    c:heal()
    c:run_until(function() return #notices.received(c) == 2 end, 10000, "told that it is over")
    t.eq(notices.received(c)[2].event, "quorum_regained")
    notices.check(c, 50)
  end, { modes = { "sim", "real" }, seeds = 5 })

  t.it("says so by whoever is left when it dies with the majority", function(mode)
    local c <close> = notices.cluster(mode, config { events = { "quorum_lost", "quorum_regained" } })
    c:http_server(notices.URL)
    c:start()
    local leader = c:wait_leader()
    for id = 1, 3 do
      c:run_until(function() return c:node(id):leader() end, 10000, "all know it")
    end
    local other, survivor = leader.id % 3 + 1, (leader.id + 1) % 3 + 1
    c:crash(other)
    c:crash(leader.id)
    c:run_until(function() return #notices.received(c) >= 1 end, 10000, "the survivor tells it")
    local notice = notices.received(c)[1]
    t.eq(notice.event, "quorum_lost")
    t.eq(notice.node, survivor)
    t.eq(notice.about, { reachable = 1, needed = 2 })
    c:restart(other)
    c:run_until(function() return #notices.received(c) >= 2 end, 10000, "and that it is over")
    t.eq(notices.received(c)[2].event, "quorum_regained")
    notices.check(c, 50)
  end, { modes = { "sim", "real" }, seeds = 5 })

  t.it("says so also while it has something else that cannot be written down", function(mode)
    local c <close> = notices.cluster(mode, config { events = { "leader_elected", "quorum_lost" } })
    c:http_server(notices.URL)
    c:start()
    local leader = c:wait_leader()
    c:isolate(leader.id) -- its election is not in the log yet
    c:run_until(function()
      for _, notice in ipairs(notices.received(c)) do
        if notice.event == "quorum_lost" and notice.node == leader.id then return true end
      end
    end, 10000, "told while it is alone, whatever others tell")
    c:heal()
    notices.check(c, 50)
  end, { modes = { "sim" }, seeds = 5 })

  t.it("says so until somebody accepts it", function(mode)
    local c <close> = notices.cluster(mode, config { events = { "quorum_lost" } })
    c:http_server(notices.URL, { status = { 500, 503, 200 } })
    c:start()
    local leader = c:wait_leader()
    for id = 1, 3 do
      if id ~= leader.id then c:crash(id) end
    end
    c:run_until(function() return #notices.received(c) == 3 end, 10000, "told while there is no quorum")
    c:run_for(2000)
    t.eq(#notices.received(c), 3)
    t.eq(notices.received(c)[3].status, 200)
    for id = 1, 3 do
      if id ~= leader.id then c:restart(id) end
    end
    c:wait_leader(10000)
    notices.check(c, 50)
    t.eq(#notices.received(c), 3, "and not again")
  end, { modes = { "sim" }, seeds = 5 })
end)

t.describe("members that come and go", function()
  t.it("are told", function(mode)
    local events = { "member_added", "member_promoted", "member_removed" }
    -- An election in between, on a busy machine, would be no fault.
    local c <close> = notices.cluster(mode, config { events = events },
      { spares = 1, election_ms = mode == "real" and { 500, 1000 } or nil })
    c:http_server(notices.URL)
    c:start()
    c:wait_leader()
    t.ok(c:add(4))
    t.ok(c:remove(4))
    c:run_until(function() return #notices.received(c) >= 3 end, 10000, "three events")
    notices.check(c, 50)
    local texts = {}
    for i, notice in ipairs(notices.received(c)) do texts[i] = notice.text end
    t.eq(texts, { "n4 was added", "n4 votes now", "n4 was removed" })
  end, { modes = { "sim", "real" }, seeds = 5 })
end)

t.describe("a storm", function()
  t.it("is told of a few times, and the rest in summaries", function()
    local c <close> = notices.cluster("sim",
      config { most = 3, window_ms = 40000, events = { "leader_elected" } })
    c:http_server(notices.URL)
    c:start()
    local elections = {}
    for _ = 1, 12 do
      local leader = c:wait_leader(10000)
      elections["leader_elected-" .. leader:term()] = true
      c:run_for(300 + math.random(1200)) -- time to write it down
      c:crash(leader.id)
      c:wait_leader(10000)
      c:restart(leader.id)
    end
    c:run_for(120000)
    notices.check(c, 50)
    local at, named = {}, {}
    for _, notice in ipairs(notices.received(c)) do
      at[#at + 1] = notice.at_ms
      named[notice.id] = true
      for _, event in ipairs(notice.events or {}) do named[event.id] = true end
    end
    for i = 4, #at do t.gt(at[i] - at[i - 3], 29000, "three in a window") end -- clocks are up to 10 s apart
    for id in pairs(elections) do t.ok(named[id], id .. " is told or part of a summary") end
    t.lt(#at, 10)
  end, { modes = { "sim" }, seeds = 5, timeout_ms = 300000 })
end)

t.describe("what nobody accepts", function()
  local T, YEAR = 1700000000000, 365 * 24 * 3600 * 1000

  local function refused(give_up_ms)
    local c = notices.cluster("sim",
      config { give_up_ms = give_up_ms, events = { "leader_elected" }, retry_ms = 100, retry_max_ms = 1000 })
    c:http_server(notices.URL, { status = 503 })
    c:set_wall(nil, T)
    c:start()
    local leader = c:wait_leader()
    c:run_until(function() return #notices.received(c) > 0 end, 10000, "it is told")
    return c, leader, notices.received(c)[1].id
  end

  t.it("is given up after give_up_ms", function()
    local c <close>, _, id = refused(10000)
    c:run_for(8000)
    t.eq(notices.logged(c)[id].state, "pending")
    c:run_for(5000)
    t.eq(notices.logged(c)[id].state, "given_up")
  end, { modes = { "sim" } })

  t.it("is not given up because a clock was set", function()
    local c <close>, leader, id = refused(20000)
    c:set_wall(nil, T + YEAR)
    c:run_for(5000)
    c:crash(leader.id) -- the next one hears of it with that clock
    c:wait_leader(10000)
    c:run_for(5000)
    t.eq(notices.logged(c)[id].state, "pending")
    c:http_server(notices.URL)
    c:run_until(function() return notices.logged(c)[id].state == "accepted" end, 10000, "it is accepted")
  end, { modes = { "sim" }, seeds = 3 })
end)

t.describe("what is no event, among the keys of events,", function()
  t.it("keeps none from being told", function()
    local c <close> = notices.cluster("sim", config { events = { "leader_elected" } })
    c:http_server(notices.URL)
    c:start()
    c:wait_leader()
    t.ok(c:propose("kv", "set", { key = "notify/events/odd", value = 7 }))
    t.ok(c:propose("kv", "set", { key = "notify/events/pending", value = { state = "pending" } }))
    local told = #notices.received(c)
    c:crash(c:wait_leader().id)
    c:wait_leader(10000)
    c:run_until(function() return #notices.received(c) > told end, 10000, "the next leader tells")
  end, { modes = { "sim" }, seeds = 2 })
end)

t.describe("a new leader whose clock is behind", function()
  t.it("waits no longer than a window", function()
    local c <close> = notices.cluster("sim",
      config { most = 1, window_ms = 5000, events = { "leader_elected" } })
    c:http_server(notices.URL)
    c:set_wall(nil, 1700000000000)
    c:start()
    local leader = c:wait_leader()
    c:run_until(function() return #notices.received(c) == 1 end, 10000, "the first is told")
    for id = 1, 3 do
      if id ~= leader.id then c:set_wall(id, 1700000000000 - 3600000) end
    end
    c:crash(leader.id)
    c:wait_leader(10000)
    c:run_until(function() return #notices.received(c) == 2 end, 8000, "the second is told")
  end, { modes = { "sim" }, seeds = 3 })
end)

t.describe("a program", function()
  t.it("is told as a webhook is", function()
    local c <close> = notices.cluster("sim",
      config { argv = { "tell", "the-team" }, events = { "leader_elected" } })
    c:program("tell", { run_ms = 10, code = 1, stderr = "nobody there" })
    c:start()
    c:wait_leader()
    c:run_until(function() return #c:programs "tell" >= 3 end, 10000, "it is tried again")
    c:program("tell", { run_ms = 10 })
    c:run_until(function()
      for _, value in pairs(notices.logged(c)) do
        if value.state ~= "accepted" then return false end
      end
      return true
    end, 10000, "it is accepted")
    local count = #c:programs "tell"
    c:run_for(5000)
    t.eq(#c:programs "tell", count)
    t.eq(c:programs("tell")[1].arguments, "the-team")
  end, { modes = { "sim" }, seeds = 3 })
end)

t.describe("the log", function()
  t.it("does not grow for ever, and what has gone from it is not told again", function()
    local c <close> = notices.cluster("sim", config { keep = 10, events = { "term_change", "member_added" } },
      { n = 1, spares = 1 })
    c:http_server(notices.URL, { latency_ms = 0 })
    c:start()
    c:wait_leader()
    t.ok(c:add(2, { voter = false }))
    for _ = 1, 26 do
      c:node(1):campaign()
      c:crash(1)
      c:restart(1)
      c:wait_leader()
      c:run_for(60)
    end
    wait_for(c, "term_change-" .. c:wait_leader():term())
    notices.check(c, 50)
    local count, times = 0, {}
    for _ in pairs(notices.logged(c)) do count = count + 1 end
    t.le(count, 22)
    for _, notice in ipairs(notices.received(c)) do
      times[notice.id] = (times[notice.id] or 0) + 1
      if notice.event == "member_added" then t.eq(times[notice.id], 1) end
    end
  end, { modes = { "sim" }, timeout_ms = 600000 })
end)

t.describe("settings that make no sense", function()
  t.it("are told in one sentence, and the node runs on", function()
    for message, settings in pairs {
      ["either url %(a webhook%) or argv"] = { url = "http://a/", argv = { "b" } },
      ["did you mean 'retry_ms'"] = { url = "http://a/", retry_m = 1 },
      ["config: url: it must begin with http:// or https://, and a host"] = { url = "chat.example/hook" },
      ["config: headers: a b is no name of a header"] = { url = "http://a/", headers = { ["a b"] = "c" } },
      ["config: keep must be at least as much as most"] = { url = "http://a/", keep = 9 },
      ["config: events%[1%] must be one of"] = { url = "http://a/", events = { "leader" } },
    } do
      local c <close> = t.cluster { n = 1,
        scripts = { { name = "notify", script = "bundled:notify", config = settings } } }
      c:start()
      c:wait_leader()
      t.ok(c:propose("kv", "set", { key = "x", value = 1 }))
      t.match(c:events({ name = "error" })[1].message, message)
    end
  end, { modes = { "sim" } })
end)
