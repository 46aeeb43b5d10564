-- Figures 7 and 8 of the Raft paper. (Figure 16 is tests/bench/elections.)
local t = require "moonkeeper.test"
local lab = require "lib.lab"

local BOTH = { modes = { "sim", "real" }, seeds = 10, timeout_ms = 120000 }

-- What the others ask for is heard by nobody.
local function only_candidate(c, id)
  c:drop(nil, nil, 1, { type = "vote" })
  c:drop(id, nil, 0, { type = "vote" })
end

-- This node and no other becomes leader: it stands again and again, more often than the others, whose terms
-- grow too, and yet leaves time for an answer.
local function elect(c, id)
  only_candidate(c, id)
  local node, next_ms = c:node(id), c:now_ms()
  c:run_until(function()
    if node:role() == "leader" then return true end
    if c:now_ms() >= next_ms then
      node:campaign()
      next_ms = c:now_ms() + 900
    end
  end, 30000, "n" .. id .. " leads")
  return node
end

local function wait_for_all(c, index, count)
  c:run_until(function() return lab.committed(c, index) >= count end, 20000,
    ("entry %d on %d nodes"):format(index, count))
end

-- Has this committed on so many nodes by this leader. Who refused it its vote may stand before it hears of
-- it, and takes its leadership with the next term: then it leads again.
local function commit(c, id, what, count)
  local give_up_ms = c:now_ms() + 60000
  repeat
    t.lt(c:now_ms(), give_up_ms, "n" .. id .. " leads for long enough")
    local node = elect(c, id)
    local index, term = node:submit(what)
    local done = index and c:run_until(function()
      if lab.committed(c, index) >= count then return "committed" end
      return node:term() ~= term and "deposed"
    end, 20000, ("entry %d on %d nodes"):format(index, count))
  until done == "committed"
end

t.describe("Figure 7", function()
  local logs = {
    { 1, 1, 1, 4, 4, 5, 5, 6, 6, 6 }, -- the leader for term 8
    { 1, 1, 1, 4, 4, 5, 5, 6, 6 }, -- (a)
    { 1, 1, 1, 4 },
    { 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6 },
    { 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7 },
    { 1, 1, 1, 4, 4, 4, 4 },
    { 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3 }, -- (f)
  }

  t.it("whatever the followers' logs, after one proposal they are the leader's", function(mode)
    local c <close> = t.cluster { n = 7, mode = mode, logs = logs, prevote = false,
      election_ms = { 1000, 2000 } }
    -- Term 7 has had its leader: node 1 passes it before there is anyone to vote for it.
    c:start(1)
    c:run_until(function()
      c:node(1):campaign()
      return c:node(1):term() >= 7
    end, 10000, "term 7")
    only_candidate(c, 1)
    c:start()
    local leader = elect(c, 1) -- 2, 3, 6 and 7 can vote for it
    lab.one(c, "one proposal", 7)
    local last = leader:last_index()
    wait_for_all(c, last, 7)
    for at = 1, last do
      local expected = leader:log(at)
      if logs[1][at] then t.eq(expected.term, logs[1][at]) else t.ge(expected.term, 8) end
      for id = 2, 7 do t.eq(c:node(id):log(at), expected, ("entry %d of n%d"):format(at, id)) end
    end
    for id = 1, 7 do t.eq(c:node(id):last_index(), last) end
    c:check()
  end, BOTH)
end)

-- Figure 8: S1 to S5 are the nodes 1 to 5. An entry of this size fills a message: what follows it in the
-- log comes in the next one.
t.describe("Figure 8", function()
  local LARGE = ("x"):rep(1 << 20)

  -- (a): S1 leads, and has its entry on S2 only. Returns the entry's index and term.
  local function a(c)
    only_candidate(c, 1)
    c:start()
    local s1 = elect(c, 1)
    wait_for_all(c, t.ok(s1:submit "common to all"), 5)
    c:partition({ 1, 2 }, { 3, 4, 5 })
    local index, term = s1:submit(LARGE)
    t.ok(index, term)
    c:run_until(function() return c:node(2):last_index() == index end, 5000, "the entry on S2")
    c:crash(1)
    return index, term
  end

  -- (b): S5 leads by the votes of S3, S4 and itself, and has an entry of its own at that index.
  local function b(c, index, old_term)
    c:drop(5, nil, 1, { type = "append" })
    local s5 = elect(c, 5)
    c:run_until(function() return s5:status().disk.queued == 0 end, 5000, "it is on S5's disk")
    local term = s5:log(index).term
    t.gt(term, old_term)
    c:crash(5)
    return term
  end

  -- (c): S1 leads again, and brings its entry to S3, but nothing after it.
  local function c_(c, index)
    c:heal()
    only_candidate(c, 1) -- at once: whoever is elected meanwhile has the others' promise, and stays
    c:cut(1, 4)
    c:restart(1)
    local s1, s3 = elect(c, 1), c:node(3)
    c:run_until(function() return s3:last_index() == index end, 20000, "the entry on S3")
    c:drop(1, 3, 1, { type = "append" })
    c:run_until(function()
      local match = {}
      for _, peer in ipairs(s1:status().peers) do match[peer.id] = peer.match end
      return match.n3 == index and match.n2 > index
    end, 5000, "S1 knows")
    c:run_for(500)
    t.eq(s3:last_index(), index)
    t.lt(s1:commit_index(), index, "what S1 commits by counting an older term's entry")
    t.eq(lab.committed(c, index), 0)
  end

  local function figure_8(mode)
    local c = t.cluster { n = 5, mode = mode, prevote = false, check_quorum = false, lease = false,
      fast_failover = false, latency_ms = { 100, 100 }, election_ms = { 1000, 2000 } }
    local index, old_term = a(c)
    local s5_term = b(c, index, old_term)
    c_(c, index)
    return c, index, old_term, s5_term
  end

  t.it("(d): an older term's entry is on a majority, and still overwritten", function(mode)
    local c, index, _, s5_term = figure_8(mode)
    local _ <close> = c
    c:crash(1)
    c:heal()
    only_candidate(c, 5)
    c:restart(5)
    elect(c, 5) -- S3 and S4 can vote for it, S2 refuses
    c:restart(1)
    commit(c, 5, "of S5", 5)
    for id = 1, 5 do t.eq(c:node(id):log(index).term, s5_term, "the entry's term on n" .. id) end
    c:check()
  end, BOTH)

  t.it("(e): an entry of its own term on a majority commits what is before it", function(mode)
    local c, index, old_term = figure_8(mode)
    local _ <close> = c
    c:drop(1, 3, 0, { type = "append" })
    c:run_until(function() return c:node(1):commit_index() > index end, 10000, "S1 commits both")
    c:crash(1)
    c:heal()
    only_candidate(c, 5)
    local s5, mark = c:node(5), c:now_ms()
    c:restart(5)
    c:run_until(function()
      return #c:events { name = "election_started", node = 5, since_ms = mark } >= 4
    end, 20000, "S5 stands for election")
    t.eq(#c:events { name = "leader_elected", since_ms = mark }, 0)
    commit(c, 3, "of S3", 4)
    t.eq(s5:log(index).term, old_term)
    c:check()
  end, BOTH)
end)
