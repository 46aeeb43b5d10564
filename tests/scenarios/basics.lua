-- basics.lua: what every Raft does, on two, three and five nodes, simulated and real.
local t = require "moonkeeper.test"

local BOTH = { modes = { "sim", "real" }, seeds = 20, timeout_ms = 120000 }

-- Have a leader accept value, and at least `least` nodes apply it at its index; again if the leader
-- is lost on the way. Returns that index.
local function one(c, value, least)
  local end_ms = c:now_ms() + 10000
  repeat
    local index = c:submit(value, { timeout_ms = 5000 })
    local retry_ms = c:now_ms() + 2000
    while index and c:now_ms() < retry_ms do
      local count, bytes = c:committed(index)
      if count >= least and bytes == value then return index end
      if count > 0 and bytes ~= value then break end -- another leader's entry took its place
      c:run_for(10)
    end
  until c:now_ms() > end_ms
  t.fail(("%s was not applied by %d nodes within 10 s"):format(value, least))
end

-- The node `steps` after this one, in a circle.
local function after(c, node, steps)
  return c:node((node.id - 1 + steps) % c.n + 1)
end

local function nobody_leads(c, among)
  return c:leader { among = among } == nil
end

local function follows(node, leader)
  local of = node:leader()
  return of and of.id == leader.id and node:term() == leader:term()
end

t.describe("two nodes", function()
  local function two(mode, options)
    options.n, options.mode = 2, mode
    options.heartbeat_ms, options.election_ms = 1000, { 1500, 5000 }
    local c = t.cluster(options)
    c:start()
    return c
  end

  t.it("both begin as followers; one campaigns, leads, and beats at the interval", function(mode)
    local c <close> = two(mode, { prevote = false })
    t.eq(c:node(1):role(), "follower")
    t.eq(c:node(2):role(), "follower")
    local leader = c:wait_leader(15000)
    t.gt(#c:events { name = "election_started", node = leader.id }, 0)
    c:run_until(function() return follows(after(c, leader, 1), leader) end, 2000)
    local before = c:rpcs { node = leader.id, type = "append" }
    c:run_for(5000)
    local beats = c:rpcs { node = leader.id, type = "append" } - before
    t.ge(beats, 4)
    t.le(beats, 7)
  end, BOTH)

  t.it("without check-quorum, the leader outlasts its follower, which follows at once when it is back",
    function(mode)
      local c <close> = two(mode, { prevote = false, check_quorum = false })
      local leader = c:wait_leader(15000)
      local follower, term = after(c, leader, 1), leader:term()
      c:run_until(function() return follows(follower, leader) end, 2000)
      c:crash(follower.id)
      c:run_for(6000)
      t.eq(leader:role(), "leader")
      t.eq(leader:term(), term)
      c:restart(follower.id)
      t.eq(follower:vote().term, term)
      c:run_until(function() return follows(follower, leader) end, 2500)
      t.eq(leader:term(), term)
      c:check()
    end, BOTH)

  t.it("with check-quorum, a leader without its follower steps down", function(mode)
    local c <close> = two(mode, {})
    local leader = c:wait_leader(15000)
    c:crash(after(c, leader, 1).id)
    c:run_until(function() return leader:role() ~= "leader" end, 11000)
    t.eq(#c:events { name = "leader_elected", node = leader.id, since_ms = c:now_ms() }, 0)
  end, BOTH)

  t.it("with pre-vote, the term of a lone survivor does not grow, and it leads again with the other",
    function(mode)
      local c <close> = two(mode, { prevote = true })
      local old = c:wait_leader(15000)
      local survivor = after(c, old, 1)
      c:run_until(function() return follows(survivor, old) end, 2000)
      local term = survivor:term()
      c:crash(old.id)
      c:run_for(12000)
      t.eq(survivor:term(), term)
      t.ok(nobody_leads(c))
      c:restart(old.id)
      t.gt(c:wait_leader(15000):term(), term)
      c:check()
    end, BOTH)

  t.it("without pre-vote, it grows from campaign to campaign, and nobody leads before the other is back",
    function(mode)
      local c <close> = two(mode, { prevote = false })
      local old = c:wait_leader(15000)
      local survivor, term = after(c, old, 1), old:term()
      local mark = c:now_ms()
      c:crash(old.id)
      c:run_for(12000)
      t.ge(survivor:term(), term + 2)
      t.eq(#c:events { name = "leader_elected", since_ms = mark }, 0)
      c:restart(old.id)
      t.gt(c:wait_leader(15000):term(), term + 2)
      c:check()
    end, BOTH)
end)

t.describe("three nodes", function()
  local function three(mode)
    local c = t.cluster { n = 3, mode = mode }
    c:start()
    return c
  end

  t.it("elect a leader and keep it", function(mode)
    local c <close> = three(mode)
    local leader = c:wait_leader()
    local term = leader:term()
    t.ge(term, 1)
    c:run_until(function()
      return follows(after(c, leader, 1), leader) and follows(after(c, leader, 2), leader)
    end, 2000)
    c:run_for(2000)
    t.eq(c:leader().id, leader.id)
    for _, node in ipairs(c:nodes()) do t.eq(node:term(), term) end
  end, BOTH)

  t.it("elect another when the leader is cut off, and nobody without a majority", function(mode)
    local c <close> = three(mode)
    local first = c:wait_leader()
    c:isolate(first.id)
    local rest = { after(c, first, 1).id, after(c, first, 2).id }
    local second = c:wait_leader(5000, { among = rest })
    c:connect(first.id)
    c:run_until(function() return follows(first, c:leader() or second) end, 6000)
    second = c:wait_leader()
    c:isolate(second.id)
    c:isolate(after(c, second, 1).id)
    c:run_until(function() return nobody_leads(c) end, 3000)
    c:run_for(2000)
    t.ok(nobody_leads(c))
    c:connect(after(c, second, 1).id)
    c:wait_leader(6000)
    c:connect(second.id)
    c:wait_leader(6000)
    c:check()
  end, BOTH)

  t.it("agree on commands, each at the next index", function(mode)
    local c <close> = three(mode)
    c:wait_leader()
    local last = one(c, "100", 3)
    for i = 2, 4 do
      t.eq((c:committed(last + 1)), 0)
      local index = one(c, tostring(100 * i), 3)
      t.eq(index, last + 1)
      last = index
    end
    c:check()
  end, BOTH)

  t.it("agree without one follower, and not without both", function(mode)
    local c <close> = three(mode)
    one(c, "101", 3)
    local leader = c:leader()
    c:isolate(after(c, leader, 1).id)
    one(c, "102", 2)
    one(c, "103", 2)
    leader = c:wait_leader()
    for id = 1, 3 do
      if id ~= leader.id then c:isolate(id) end
    end
    local index = t.ok(leader:submit("104"))
    c:run_for(2000)
    local _, bytes = c:committed(index)
    t.ne(bytes, "104")
    c:heal()
    one(c, "105", 3)
    c:check()
  end, BOTH)

  t.it("agree without one leader after the other, and not without two of three", function(mode)
    local c <close> = three(mode)
    one(c, "101", 3)
    c:isolate(c:leader().id)
    one(c, "102", 2)
    one(c, "103", 2)
    c:isolate(c:leader().id)
    local accepted = {}
    for _, node in ipairs(c:nodes()) do accepted[#accepted + 1] = node:submit("104") end
    c:run_for(2000)
    for _, index in ipairs(accepted) do
      local _, bytes = c:committed(index)
      t.ne(bytes, "104")
    end
    c:heal()
    one(c, "105", 3)
    c:check()
  end, BOTH)

  t.it("bring a follower up to date that was cut off", function(mode)
    local c <close> = three(mode)
    one(c, "101", 3)
    local lost = after(c, c:leader(), 1)
    c:isolate(lost.id)
    for i = 102, 105 do one(c, tostring(i), 2) end
    c:connect(lost.id)
    one(c, "106", 3)
    one(c, "107", 3)
    c:check()
  end, BOTH)

  t.it("refuse a follower whose disk was wiped, and go on", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode }
    c:start()
    local leader = c:wait_leader()
    t.ok(c:propose("kv", "set", { key = "x", value = 1 }))
    local wiped = leader.id % 3 + 1
    t.match(tostring(select(2, pcall(c.wipe, c, wiped))), "it runs")
    c:crash(wiped, { host = true })
    c:wipe(wiped)
    c:restart(wiped)
    c:run_until(function() return not c:node(wiped):alive() end, 20000, "the end of n" .. wiped)
    t.eq(c:leader(), leader)
    t.ok(c:propose("kv", "set", { key = "x", value = 2 }))
    c:check()
  end, BOTH)

  t.it("forget what a leader that was cut off could not commit", function(mode)
    local c <close> = three(mode)
    one(c, "101", 3)
    local first = c:leader()
    c:isolate(first.id)
    for i = 102, 104 do t.ok(first:submit(i .. " of the lost leader")) end
    local index = one(c, "103", 2)
    local second = c:wait_leader(5000)
    t.ne(second.id, first.id)
    c:isolate(second.id)
    c:connect(first.id)
    one(c, "104", 2)
    c:connect(second.id)
    one(c, "105", 3)
    local _, bytes = c:committed(index)
    t.eq(bytes, "103")
    c:check()
  end, BOTH)

  t.it("lose nothing when all of them are killed", function(mode)
    local c <close> = three(mode)
    local index = one(c, "101", 3)
    t.ok(c:propose("kv", "set", { key = "a", value = "kept" }))
    for id = 1, 3 do c:crash(id, { host = id == 2 }) end
    c:start()
    one(c, "102", 3)
    local _, bytes = c:committed(index)
    t.eq(bytes, "101")
    t.eq(t.ok(c:query("kv", "get", { key = "a" })).value, "kept")
    c:check()
  end, BOTH)
end)

t.describe("five nodes", function()
  t.it("go on after two are killed, one of them with its machine, and take them back", function(mode)
    local c <close> = t.cluster { n = 5, mode = mode }
    c:start()
    one(c, "201", 5)
    local leader = c:leader()
    local second = after(c, leader, 2)
    c:crash(leader.id)
    c:crash(second.id, { host = true })
    one(c, "202", 3)
    c:restart(leader.id)
    c:restart(second.id)
    one(c, "203", 5)
    c:check()
  end, BOTH)

  t.it("replace a leader that is paused, and have it follow when it goes on", function(mode)
    local c <close> = t.cluster { n = 5, mode = mode }
    c:start()
    local first = c:wait_leader()
    local others = {}
    for id = 1, 5 do
      if id ~= first.id then others[#others + 1] = id end
    end
    c:pause(first.id)
    local second = c:wait_leader(5000, { among = others })
    t.ok(second:propose("kv", "set", { key = "x", value = 1 }))
    c:resume(first.id)
    c:run_until(function() return first:role() == "follower" end, 3000)
    t.eq(t.ok(first:query("kv", "get", { key = "x" })).value, 1)
    c:check()
  end, BOTH)
end)

t.describe("a partition", function()
  t.it("may leave a node that hears both sides", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode }
    c:start()
    local leader = c:wait_leader()
    local middle, other = leader.id % 3 + 1, (leader.id + 1) % 3 + 1
    local here, there = { leader.id, middle }, { middle, other }
    for _, groups in ipairs { { here, there }, { there, here } } do
      c:partition(table.unpack(groups))
      c:run_for(1000)
      t.ok(c:node(middle):propose("kv", "set", { key = "x", value = 1 }))
      t.eq(c:leader(), leader)
      t.lt(c:node(other):last_applied(), leader:last_applied())
    end
  end, { modes = { "sim" }, seeds = 10 })
end)

t.describe("a cluster", function()
  t.it("that cannot start ends the test with the reason", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode, scripts = { "tests/scenarios/scripts/nowhere.lua" } }
    local started, why = pcall(c.start, c)
    t.eq(started, false)
    t.match(tostring(why), "nowhere.lua")
  end, { modes = { "real" } })
end)

t.describe("a node", function()
  t.it("runs a piece of Lua for a test, and says what went wrong in it", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode }
    c:start()
    local leader = c:wait_leader()
    t.eq(leader:eval("return 1 + ...", 41), 42)
    t.eq(leader:eval("mk.task.sleep(20) return mk.raft.is_leader()"), true)
    t.ok(leader:eval("return mk.raft.propose('kv', 'set', { key = 'a', value = ... })", "b"))
    t.eq(leader:eval("return mk.raft.query('kv', 'get', { key = 'a' })").value, "b")
    local result, err = leader:eval("error('not today')")
    t.eq(result, nil)
    t.match(tostring(err), "not today")
  end, BOTH)

  t.it("finds the log that it is given, and repairs the others' to match", function(mode)
    local c <close> = t.cluster {
      n = 3, mode = mode,
      logs = { { 1, 1, 2, 2 }, { 1, 1, 2, 2, 3, 3 }, { 1, 1, 4 } },
    }
    c:start(1)
    c:start(3)
    local leader = c:wait_leader()
    t.eq(leader.id, 3)
    local index = one(c, "new", 2)
    c:start(2)
    c:run_until(function() return c:node(2):last_applied() >= index end, 5000)
    for at = 1, index do t.eq(c:node(2):log(at).term, leader:log(at).term) end
    c:check()
  end, BOTH)
end)
