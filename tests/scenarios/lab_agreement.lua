-- Agreement.
local t = require "moonkeeper.test"
local mk = require "moonkeeper"
local lab = require "lib.lab"

local SEEDS = 20

t.describe("laboratory: agreement", function()
  t.it("nothing is applied before it is agreed on", function()
    local c <close> = lab.cluster(3)
    lab.check_one_leader(c)
    for i = 1, 3 do
      local next_index = lab.one(c, "before " .. i, 3) + 1
      t.eq(lab.committed(c, next_index), 0, "applied before it was started")
      t.eq(lab.one(c, 100 * i, 3), next_index)
      t.eq(lab.committed(c, next_index), 3)
    end
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("each command travels once to each follower", function()
    local c <close> = lab.cluster(3)
    lab.one(c, 99, 3)
    local _, before = c:rpcs { type = "all" }
    for i = 1, 10 do lab.one(c, ("%04d "):format(i):rep(1000), 3) end
    local _, after = c:rpcs { type = "all" }
    t.le(after - before, 3 * 10 * 5000 + 50000, "bytes sent")
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("a majority goes on without followers that fail, not without a majority", function()
    local c <close> = lab.cluster(3)
    lab.one(c, 101, 3)
    local leader = lab.check_one_leader(c)
    lab.disconnect(c, lab.after(c, leader.id, 1))
    lab.one(c, 102, 2)
    c:run_for(1000)
    lab.one(c, 103, 2)
    leader = lab.check_one_leader(c)
    local a, b = lab.after(c, leader.id, 1), lab.after(c, leader.id, 2)
    lab.disconnect(c, a, b)
    local index = t.ok(leader:submit "104") -- it does not know yet that it is alone
    c:run_for(2000)
    t.eq(lab.committed(c, index), 0, "nodes that applied what no majority has")
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("agreement survives leaders that fail, until there is no majority", function()
    local c <close> = lab.cluster(3)
    lab.one(c, 101, 3)
    local first = lab.check_one_leader(c)
    lab.disconnect(c, first.id)
    lab.one(c, 102, 2)
    c:run_for(1000)
    lab.one(c, 103, 2)
    local second = lab.check_one_leader(c)
    lab.disconnect(c, second.id)
    local index = t.ok(second:submit "104")
    c:run_for(2000)
    t.eq(lab.committed(c, index), 0)
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("a follower that comes back catches up", function()
    local c <close> = lab.cluster(3)
    lab.one(c, 101, 3)
    local leader = lab.check_one_leader(c)
    local away = lab.after(c, leader.id, 1)
    lab.disconnect(c, away)
    for i = 102, 105 do lab.one(c, i, 2) end
    lab.connect(c, away)
    lab.one(c, 106, 3)
    c:run_for(1000)
    lab.one(c, 107, 3)
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("no agreement when too many are away; all is well when they return", function()
    local c <close> = lab.cluster(5)
    lab.one(c, 10, 5)
    local leader = lab.check_one_leader(c)
    local away = { lab.after(c, leader.id, 1), lab.after(c, leader.id, 2), lab.after(c, leader.id, 3) }
    lab.disconnect(c, table.unpack(away))
    local index = t.ok(leader:submit "20")
    c:run_for(2000)
    t.eq(lab.committed(c, index), 0)
    lab.connect(c, table.unpack(away))
    lab.check_one_leader(c)
    lab.one(c, 30, 5)
    lab.one(c, 1000, 5)
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("commands started at once all appear at the indexes that were returned", function()
    local c <close> = lab.cluster(3)
    local leader = lab.check_one_leader(c)
    c:run_for(100)
    local indexes, tasks = {}, {}
    for i = 1, 5 do
      tasks[i] = mk.task.spawn(function()
        indexes[i] = leader:submit(tostring(100 + i))
      end)
    end
    for i = 1, 5 do tasks[i]:join() end
    for i = 1, 5 do
      t.ok(indexes[i], "command " .. i .. " was accepted")
      c:run_until(function() return lab.committed(c, indexes[i]) == 3 end, 2000, "all apply it")
      local _, bytes = c:committed(indexes[i])
      t.eq(bytes, tostring(100 + i))
    end
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("what a partitioned leader alone has vanishes when it rejoins", function()
    local c <close> = lab.cluster(3)
    lab.one(c, 101, 3)
    local old = lab.check_one_leader(c)
    lab.disconnect(c, old.id)
    local first = t.ok(old:submit "102 in vain")
    for i = 103, 104 do t.ok(old:submit(i .. " in vain")) end
    lab.one(c, 103, 2)
    local second = lab.check_one_leader(c)
    lab.disconnect(c, second.id)
    lab.connect(c, old.id)
    lab.one(c, 104, 2)
    lab.connect(c, second.id)
    local last = lab.one(c, 105, 3)
    for index = first, last do
      local _, bytes = c:committed(index)
      t.ok(not (bytes and bytes:find "in vain"), "nothing of them is left")
    end
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("followers with fifty wrong entries are brought back quickly", function()
    local c <close> = lab.cluster(5)
    lab.one(c, 0, 5)
    local function fifty(leader)
      for _ = 1, 50 do t.ok(leader:submit(tostring(math.random(1000000)))) end
    end
    -- A leader with one follower takes fifty commands that are never committed.
    local first = lab.check_one_leader(c)
    local id = first.id
    local with_it = lab.after(c, id, 1)
    local rest = { lab.after(c, id, 2), lab.after(c, id, 3), lab.after(c, id, 4) }
    lab.disconnect(c, table.unpack(rest))
    fifty(first)
    c:run_for(75)
    lab.disconnect(c, id, with_it)
    -- The other three agree on fifty.
    lab.connect(c, table.unpack(rest))
    for _ = 1, 50 do lab.one(c, math.random(1000000), 3) end
    -- Of those, a leader with one follower takes another fifty in vain.
    local second = lab.check_one_leader(c)
    local other
    for _, node in ipairs(rest) do
      if node ~= second.id then other = node end
    end
    lab.disconnect(c, other)
    fifty(second)
    c:run_for(75)
    -- The first two and the odd one form a majority.
    lab.disconnect(c, table.unpack(rest))
    lab.connect(c, id, with_it, other)
    local before = c:rpcs { type = "append" }
    for _ = 1, 50 do lab.one(c, math.random(1000000), 3) end
    lab.connect(c, 1, 2, 3, 4, 5)
    lab.one(c, 0, 5)
    -- Two followers were fifty entries off, and two more after them: entry by entry, that
    -- alone would be 200 requests.
    t.le(c:rpcs { type = "append" } - before, 51 * 4 * 2 + 120, "append requests")
  end, { modes = { "sim" }, seeds = SEEDS })
end)
