-- Elections.
local t = require "moonkeeper.test"
local lab = require "lib.lab"

local SEEDS = 20

t.describe("laboratory: elections", function()
  t.it("a first leader, and no second one without cause", function()
    local c <close> = lab.cluster(3)
    lab.check_one_leader(c)
    c:run_for(50)
    local term = lab.check_same_term(c)
    t.ge(term, 1)
    c:run_for(2000)
    t.eq(lab.check_same_term(c), term)
    lab.check_one_leader(c)
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("a leader cut off is replaced; two of three are needed", function()
    local c <close> = lab.cluster(3)
    local first = lab.check_one_leader(c)
    lab.disconnect(c, first.id)
    t.ne(lab.check_one_leader(c).id, first.id)
    lab.connect(c, first.id)
    local second = lab.check_one_leader(c)
    lab.disconnect(c, second.id, lab.after(c, second.id, 1))
    c:run_for(1000)
    lab.check_no_leader(c)
    lab.connect(c, lab.after(c, second.id, 1))
    lab.check_one_leader(c)
    lab.connect(c, second.id)
    lab.check_one_leader(c)
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("seven nodes, three of them cut off again and again", function()
    local c <close> = lab.cluster(7)
    lab.check_one_leader(c)
    for _ = 1, 9 do
      local cut = {}
      while #cut < 3 do
        local id = math.random(7)
        if not c:is_isolated(id) then
          lab.disconnect(c, id)
          cut[#cut + 1] = id
        end
      end
      lab.check_one_leader(c)
      lab.connect(c, table.unpack(cut))
    end
    lab.check_one_leader(c)
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("electing the first leader takes few messages, and so do agreement and silence", function()
    local c <close> = lab.cluster(3)
    local leader = lab.check_one_leader(c)
    local elected = c:rpcs {}
    t.ge(elected, 1)
    t.le(elected, 30, "requests to elect the first leader")
    c:run_for(100) -- its no-op is behind it
    local term, before = leader:term(), (c:rpcs {})
    local first
    for i = 1, 10 do
      local index = leader:submit(tostring(i))
      first = first or index
      t.eq(index, first + i - 1)
    end
    c:run_until(function() return lab.committed(c, first + 9) == 3 end, 1000, "all ten applied")
    t.eq(leader:term(), term)
    t.le(c:rpcs {} - before, 42, "requests for ten agreements")
    before = c:rpcs {}
    c:run_for(1000)
    t.le(c:rpcs {} - before, 60, "requests in one second of silence")
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("every node hears once of a leader and term", function()
    local c <close> = lab.cluster(5)
    local leader = lab.check_one_leader(c)
    c:run_for(1000)
    local function heard_once(who, term)
      for i = 1, c.n do
        local events = c:events { name = "leader_elected", node = i }
        local last = events[#events]
        t.ok(last, "n" .. i .. " heard of a leader")
        t.eq(last.leader_id, "n" .. who.id)
        t.eq(last.term, term)
        local seen = {}
        for _, event in ipairs(events) do
          local key = event.term .. " " .. event.leader_id
          t.ok(not seen[key], "n" .. i .. " heard twice of " .. key)
          seen[key] = true
        end
      end
    end
    heard_once(leader, leader:term())
    c:crash(leader.id, { auto_restart = true })
    c:run_until(function() return c:node(leader.id):alive() end, 5000, "its restart")
    local successor = c:wait_leader(5000)
    c:run_for(1000)
    heard_once(successor, successor:term())
  end, { modes = { "sim" }, seeds = SEEDS })
end)
