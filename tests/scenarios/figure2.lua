-- A node as Figure 2 of the Raft paper has it: what it keeps, whom it votes for, whom it obeys, what it
-- tells. How well it does so when much goes wrong is in lab_*.lua.
local t = require "moonkeeper.test"
local lab = require "lib.lab"

local BOTH = { modes = { "sim", "real" }, seeds = 20, timeout_ms = 120000 }

t.describe("a node of Figure 2", function()
  t.it("keeps its term, its vote and its log when it is killed", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode, prevote = false }
    c:start()
    local leader = c:wait_leader()
    local index = t.ok(leader:submit "kept")
    c:run_until(function()
      for _, peer in ipairs(leader:status().peers) do
        if peer.match < index then return false end
      end
      return lab.committed(c, index) == 3
    end, 5000, "both followers have acknowledged it")
    local votes, term = {}, leader:log(index).term
    for id = 1, 3 do
      votes[id] = c:node(id):vote()
      c:crash(id)
    end
    c:partition({ 1 }, { 2 }, { 3 })
    for id = 1, 3 do
      c:start(id)
      local vote = c:node(id):vote()
      t.ge(vote.term, votes[id].term)
      if vote.term == votes[id].term then t.eq(vote.voted_for, votes[id].voted_for) end
      -- What the leader itself has is committed without its own disk.
      local entry = c:node(id):log(index)
      if id ~= leader.id or entry then t.eq(entry.term, term) end
    end
    c:heal()
    lab.one(c, "and more", 3)
    t.eq(select(2, c:committed(index)), "kept")
    c:check()
  end, BOTH)

  t.it("votes only for a log that is at least as up to date as its own", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode, prevote = false,
      logs = { { 1, 1, 2 }, { 1, 1, 2 }, { 1, 1, 1, 1 } } }
    c:drop(nil, nil, 1, { type = "vote" })
    c:drop(3, nil, 0, { type = "vote" }) -- the others hear the third alone: longer, and older
    c:start()
    c:run_until(function()
      return #c:events { name = "election_started", node = 3 } >= 5
    end, 20000, "it stands five times")
    t.eq(c:events { name = "leader_elected" }, {})
    c:heal()
    t.ne(c:wait_leader(20000).id, 3)
    c:check()
  end, BOTH)

  t.it("follows whoever is of a later term, and gives up what it could not commit", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode, check_quorum = false }
    c:start()
    local old = c:wait_leader()
    c:isolate(old.id)
    t.ok(old:submit "alone")
    local others = {}
    for id = 1, 3 do
      if id ~= old.id then others[#others + 1] = id end
    end
    local new = c:wait_leader(5000, { among = others })
    t.eq(old:role(), "leader") -- it cannot know
    t.lt(old:term(), new:term())
    c:connect(old.id)
    c:run_until(function() return old:role() == "follower" and old:term() == new:term() end, 10000)
    local index = t.ok(new:submit "together")
    c:run_until(function() return lab.committed(c, index) == 3 end, 5000, "it is everywhere")
    for at = 1, index do t.ne(old:log(at).bytes, "alone") end
    c:check()
  end, BOTH)

  t.it("tells its term and whether it leads", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode }
    c:start()
    local leader = c:wait_leader()
    c:run_until(function()
      for id = 1, 3 do
        local status = c:node(id):status()
        local role = id == leader.id and "leader" or "follower"
        if status.role ~= role or status.leader ~= tostring(leader) then return false end
        if status.term ~= leader:term() then return false end
      end
      return true
    end, 5000, "all say the same")
  end, BOTH)

  t.it("that is stopped hands its work over first, and answers nobody afterwards", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode }
    c:start()
    local old = c:wait_leader()
    t.ok(c:propose("kv", "set", { key = "a", value = 1 }))
    c:stop(old.id)
    t.ok(not old:alive())
    t.err("unreachable", old:status())
    t.err("unreachable", old:propose("kv", "set", { key = "a", value = 2 }))
    local new = c:wait_leader()
    t.ne(new.id, old.id)
    t.eq(t.ok(new:query("kv", "get", { key = "a" })).value, 1)
    c:start(old.id)
    c:run_until(function() return old:leader() == new end, 5000, "it follows")
    c:check()
  end, BOTH)
end)
