-- Figures 7 and 8 of the Raft paper: scenarios.md section C. (Figure 16 is tests/bench/elections.)
local t = require "moonkeeper.test"
local lab = require "lib.lab"

local SEEDS = 20

t.describe("the Raft paper", function()
  t.it("Figure 7: whatever the followers' logs, they become the leader's", function()
    local logs = {
      { 1, 1, 1, 4, 4, 5, 5, 6, 6, 6 }, -- the leader
      { 1, 1, 1, 4, 4, 5, 5, 6, 6 },
      { 1, 1, 1, 4 },
      { 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6 },
      { 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7 },
      { 1, 1, 1, 4, 4, 4, 4 },
      { 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3 },
    }
    local c <close> = t.cluster { n = 7, logs = logs, prevote = false, election_ms = { 2000, 4000 } }
    c:start()
    c:node(1):campaign() -- four of the others can vote for it: 2, 3, 6 and 7
    c:run_until(function() return c:node(1):role() == "leader" end, 1900, "the leader of the figure")
    t.eq(c:node(1):term(), 8)
    local index = c:submit("one proposal", { node = 1 })
    c:run_until(function() return lab.committed(c, index) == 7 end, 5000, "the proposal on all nodes")
    for i = 1, index do
      local expected = c:node(1):log(i)
      t.eq(expected.term, logs[1][i] or 8)
      for id = 2, 7 do t.eq(c:node(id):log(i), expected, ("entry %d of n%d"):format(i, id)) end
    end
    for id = 1, 7 do t.eq(c:node(id):last_index(), index) end
  end, { modes = { "sim", "real" }, seeds = SEEDS })

  -- S1 leads in term 4. The entry of term 2 is on three of five nodes, S5 has another one of term 3.
  -- Nobody campaigns by itself.
  local function figure_8()
    local c = t.cluster {
      n = 5, prevote = false, check_quorum = false, lease = false, fast_failover = false,
      election_ms = { 100000, 200000 },
      logs = { { 1, 2 }, { 1, 2 }, { 1, 2 }, { 1 }, { 1, 3 } },
    }
    c:start()
    for id = 2, 5 do c:drop(1, id, 1, { type = "append" }) end
    c:isolate(5)
    c:node(1):campaign()
    c:run_until(function() return c:node(1):role() == "leader" end, 5000, "S1 leads")
    t.eq(c:node(1):term(), 4)
    c:run_for(1000)
    t.lt(c:node(1):commit_index(), 2, "an older term's entry is not committed by counting")
    c:heal()
    return c
  end

  t.it("Figure 8 (d): an older term's entry on a majority can still be overwritten", function()
    local c <close> = figure_8()
    for id = 2, 5 do c:drop(1, id, 1, { type = "append" }) end
    c:crash(1)
    c:heal()
    c:node(5):campaign()
    c:run_until(function() return c:node(5):role() == "leader" end, 5000, "S5 leads")
    local index = c:submit("of S5", { node = 5 })
    c:run_until(function() return lab.committed(c, index) == 4 end, 5000, "commit")
    for id = 2, 5 do t.eq(c:node(id):log(2).term, 3) end
    c:restart(1)
    c:run_until(function() return lab.committed(c, index) == 5 end, 5000, "S1 follows")
    t.eq(c:node(1):log(2).term, 3)
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("Figure 8 (e): an own-term entry on a majority commits what is before it", function()
    local c <close> = figure_8()
    c:isolate(4)
    c:isolate(5)
    local last = c:node(1):last_index()
    c:run_until(function() return c:node(1):commit_index() == last end, 5000, "commit")
    c:crash(1)
    c:heal()
    c:node(5):campaign()
    c:run_for(1000)
    t.ne(c:node(5):role(), "leader", "S5 lacks what is committed")
    c:node(3):campaign()
    c:run_until(function() return c:node(3):role() == "leader" end, 5000, "S3 leads")
    local index = c:submit("of S3", { node = 3 })
    c:run_until(function() return lab.committed(c, index) == 4 end, 5000, "commit")
    t.eq(c:node(5):log(2).term, 2)
  end, { modes = { "sim" }, seeds = SEEDS })
end)
