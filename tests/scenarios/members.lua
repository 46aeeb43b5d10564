-- Changes of the membership, and the counter-example to changing it naively.
local t = require "moonkeeper.test"
local lab = require "lib.lab"

local SEEDS = { seeds = 20, modes = { "sim" } }
local REAL_TOO = { seeds = 20, modes = { "sim", "real" } }

local function names(members)
  local list = {}
  for _, member in ipairs(members) do list[#list + 1] = member.id .. (member.voter and "" or "?") end
  table.sort(list)
  return table.concat(list, " ")
end

t.describe("members", function()
  t.it("a spare learns, then votes; a member that is removed does neither", function(mode)
    local c <close> = t.cluster { n = 3, spares = 1, mode = mode }
    c:start()
    c:wait_leader()
    lab.one(c, "before", 3)
    t.eq(names(t.ok(c:add(4, { voter = false }))), "n1 n2 n3 n4?")
    lab.one(c, "with a learner", 4)
    t.eq(names(t.ok(c:add(4))), "n1 n2 n3 n4")
    local leader = c:leader()
    local gone = leader.id % 3 + 1
    t.ok(c:remove(gone))
    lab.one(c, "without", 3)
    t.err("not_found", c:remove(gone))
    c:check()
  end, REAL_TOO)

  -- C = {1,2,3,4}. S1 leads and makes S5 a voter, which only S5 hears of. S2 leads the next term and
  -- would remove S1, with S3 alone. Were that possible, S1 could still win by 1, 4 and 5 of its own
  -- configuration, and forget it. It is not: S2 changes nothing before an entry of its own term is
  -- committed, which takes three of the four.
  t.it("nothing is changed before the new leader has committed an entry of its own", function(mode)
    local c <close> = t.cluster { n = 4, spares = 1, mode = mode, prevote = false, check_quorum = false }
    local function only_candidate(id)
      c:drop(nil, nil, 1, { type = "vote" })
      c:drop(id, nil, 0, { type = "vote" })
    end
    only_candidate(1)
    c:start()
    t.eq(c:wait_leader(30000).id, 1)
    t.ok(c:add(5, { voter = false }))
    lab.one(c, "common", 5)

    c:partition({ 1, 5 }, { 2, 3, 4 })
    local index = c:node(1):last_index()
    t.err("outcome_unknown", c:add(5, { timeout_ms = 300 }))
    t.gt(c:node(5):last_index(), index)
    t.eq(c:node(4):last_index(), index)

    only_candidate(2)
    c:drop(2, 4, 1, { type = "append" })
    c:run_until(function() return c:node(2):role() == "leader" end, 30000, "S2 leads")
    t.err("timeout", c:remove(1, { timeout_ms = 1000 }))

    c:partition({ 1, 4, 5 }, { 2, 3 })
    only_candidate(1)
    t.eq(c:wait_leader(30000, { among = { 1, 4, 5 } }).id, 1)
    c:heal()
    lab.one(c, "in the end", 5)
    c:check()
  end, SEEDS)
end)
