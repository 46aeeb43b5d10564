-- How an election ends: every node is told of it once, and what an old term asks for is refused.
local t = require "moonkeeper.test"

local BOTH = { modes = { "sim", "real" }, seeds = 20, timeout_ms = 120000 }

t.describe("the end of an election", function()
  -- Every one of these nodes is told of the leader; of no leader twice, unless it was told of its loss; and
  -- all of the same one in a term.
  local function told_once(c, nodes, since_ms)
    local function told() return c:events { name = "leader_elected", since_ms = since_ms } end
    local leader
    local function all_know()
      leader = c:leader()
      local know = {}
      for _, event in ipairs(leader and told() or {}) do
        if event.leader_id == tostring(leader) and event.term == leader:term() then
          know[event.node] = true
        end
      end
      for _, node in ipairs(nodes) do
        if not know[node.id] then return false end
      end
      return true
    end
    c:run_until(all_know, 10000, "every node is told")
    c:run_for(1000)
    local heard, lost, of_term = {}, {}, {}
    for _, event in ipairs(c:events { name = "leader_lost", since_ms = since_ms }) do
      local key = ("n%d in term %d"):format(event.node, event.term)
      lost[key] = (lost[key] or 0) + 1
    end
    for _, event in ipairs(told()) do
      local key = ("n%d in term %d"):format(event.node, event.term)
      heard[key] = (heard[key] or 0) + 1
      t.le(heard[key], 1 + (lost[key] or 0), key .. " is told again")
      of_term[event.term] = of_term[event.term] or event.leader_id
      t.eq(event.leader_id, of_term[event.term])
      t.eq(event.is_self, event.leader_id == "n" .. event.node)
    end
    return leader
  end

  for _, n in ipairs { 3, 5 } do
    t.it(("is told to each of %d nodes once, with one leader and term"):format(n), function(mode)
      local c <close> = t.cluster { n = n, mode = mode }
      c:start()
      local first = told_once(c, c:nodes(), 0)
      local mark = c:now_ms()
      c:crash(first.id)
      local others = {}
      for _, node in ipairs(c:nodes()) do
        if node.id ~= first.id then others[#others + 1] = node end
      end
      told_once(c, others, mark)
    end, BOTH)
  end

  t.it("comes later with each heartbeat: while there are any, nobody stands", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode, prevote = false,
      election_ms = mode == "real" and { 500, 1000 } or nil }
    c:start()
    told_once(c, c:nodes(), 0)
    local mark = c:now_ms()
    c:run_for(3000) -- many election timeouts
    t.eq(c:events { name = "election_started", since_ms = mark }, {})
    t.eq(c:events { name = "leader_elected", since_ms = mark }, {})
  end, BOTH)

  t.it("is not brought about by a candidate of an old term, which learns of the new one", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode, prevote = false }
    c:start()
    local old = c:wait_leader()
    c:pause(old.id) -- it leads when it wakes up, in a term that is over
    local others = {}
    for id = 1, 3 do
      if id ~= old.id then others[#others + 1] = id end
    end
    local new = c:wait_leader(5000, { among = others })
    local mark = c:now_ms()
    c:resume(old.id)
    c:run_until(function() return old:role() == "follower" and old:term() >= new:term() end, 5000)
    for _, event in ipairs(c:events { name = "leader_elected", since_ms = mark }) do
      t.ge(event.term, new:term())
    end
    c:check()
  end, BOTH)
end)
