-- Restarts between agreements, Figure 8, unreliable networks, churn.
local t = require "moonkeeper.test"
local mk = require "moonkeeper"
local lab = require "lib.lab"

local SEEDS = 10

local function restart(c, ...)
  for _, id in ipairs { ... } do c:crash(id) end
  for _, id in ipairs { ... } do c:restart(id) end
end

t.describe("laboratory: persistence", function()
  t.it("restarts of leader, followers and all, between agreements", function()
    local c <close> = lab.cluster(3)
    lab.one(c, 11, 3)
    restart(c, 1, 2, 3)
    lab.one(c, 12, 3)
    local leader = lab.check_one_leader(c)
    restart(c, leader.id)
    lab.one(c, 13, 3)
    leader = lab.check_one_leader(c)
    c:crash(leader.id)
    lab.one(c, 14, 2)
    c:restart(leader.id)
    c:run_until(function() return c:node(leader.id):last_applied() >= c:leader():commit_index() end, 5000,
      "the old leader catches up")
    leader = lab.check_one_leader(c)
    local follower = lab.after(c, leader.id, 1)
    c:crash(follower)
    lab.one(c, 15, 2)
    c:restart(follower)
    lab.one(c, 16, 3)
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("five nodes, taken away and brought back in turn", function()
    local c <close> = lab.cluster(5)
    local value = 1
    for _ = 1, 5 do
      lab.one(c, 10 + value, 5)
      value = value + 1
      local id = lab.check_one_leader(c).id
      local function nth(i) return lab.after(c, id, i) end
      c:crash(nth(1))
      c:crash(nth(2))
      lab.one(c, 10 + value, 3)
      value = value + 1
      for i = 0, 4 do
        if i ~= 1 and i ~= 2 then c:crash(nth(i)) end
      end
      c:restart(nth(1))
      c:restart(nth(2))
      c:run_for(1000)
      c:restart(nth(3))
      lab.one(c, 10 + value, 3)
      value = value + 1
      c:restart(nth(4))
      c:restart(nth(0))
    end
    lab.one(c, 1000, 5)
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("a partitioned leader and its follower restart; nothing agreed on is lost", function()
    local c <close> = lab.cluster(3)
    lab.one(c, 101, 3)
    local id = lab.check_one_leader(c).id
    local a, b = lab.after(c, id, 1), lab.after(c, id, 2)
    lab.disconnect(c, b)
    lab.one(c, 102, 2)
    c:crash(id)
    c:crash(a)
    lab.connect(c, b)
    c:restart(id)
    lab.one(c, 103, 2)
    c:restart(a)
    lab.one(c, 104, 3)
  end, { modes = { "sim" }, seeds = SEEDS })

  t.it("Figure 8 a thousand times: the leader crashes soon after it accepts a command", function()
    local c <close> = lab.cluster(5)
    lab.one(c, "first", 1)
    local up = 5
    for i = 1, 1000 do
      local leader
      for id = 1, 5 do
        if c:node(id):alive() and c:node(id):submit("round " .. i) then leader = id end
      end
      if math.random(1000) <= 100 then
        c:run_for(math.random(0, 150))
      else
        c:run_for(math.random(0, 12))
      end
      if leader then
        c:crash(leader)
        up = up - 1
      end
      while up < 3 do
        local id = math.random(5)
        if not c:node(id):alive() then
          c:restart(id)
          up = up + 1
        end
      end
    end
    for id = 1, 5 do
      if not c:node(id):alive() then c:restart(id) end
    end
    lab.one(c, "last", 5)
  end, { modes = { "sim" }, seeds = 2, timeout_ms = 3600000 })
end)

t.describe("laboratory: unreliable networks", function()
  t.it("five nodes agree on what is proposed at the same time", function()
    local c <close> = lab.cluster(5, lab.unreliable)
    local tasks = {}
    for round = 1, 49 do
      for j = 1, 4 do
        tasks[#tasks + 1] = mk.task.spawn(function() lab.one(c, ("%d/%d"):format(round, j), 1) end)
      end
      lab.one(c, round, 1)
    end
    for _, task in ipairs(tasks) do task:join() end
    c:heal()
    lab.one(c, 100, 5)
  end, { modes = { "sim" }, seeds = SEEDS, timeout_ms = 600000 })

  t.it("Figure 8 a thousand times, with replies that come late and in any order", function()
    local c <close> = lab.cluster(5, lab.unreliable)
    lab.one(c, "first", 1)
    local connected = 5
    for i = 1, 1000 do
      if i >= 200 then lab.reorder_replies(c) end
      local leader
      for id = 1, 5 do
        if c:node(id):submit("round " .. i) and not c:is_isolated(id) then leader = id end
      end
      if math.random(1000) <= 100 then
        c:run_for(math.random(0, 150))
      else
        c:run_for(math.random(0, 12))
      end
      if leader and math.random(1000) <= 500 then
        lab.disconnect(c, leader)
        connected = connected - 1
      end
      if connected < 3 then
        local id = math.random(5)
        if c:is_isolated(id) then
          lab.connect(c, id)
          connected = connected + 1
        end
      end
    end
    c:heal()
    lab.one(c, "last", 5)
  end, { modes = { "sim" }, seeds = 2, timeout_ms = 3600000 })

  for _, network in ipairs { "reliable", "unreliable" } do
    t.it("churn, " .. network .. ": what a client saw committed stays", function()
      local c <close> = lab.cluster(5, lab[network])
      local stop, seen, clients = false, {}, {}
      for client = 1, 3 do
        clients[client] = mk.task.spawn(function()
          local n = 0
          while not stop do
            n = n + 1
            local value = ("client %d, %d"):format(client, n)
            local index
            for id = 1, 5 do
              if c:node(id):alive() then index = c:node(id):submit(value) or index end
            end
            if index then
              for _, pause in ipairs { 10, 20, 50, 100, 200 } do
                local count, bytes = c:committed(index)
                if count > 0 then
                  if bytes == value then seen[#seen + 1] = { index = index, value = value } end
                  break
                end
                mk.task.sleep(pause)
              end
            else
              mk.task.sleep(79 + client * 17)
            end
          end
        end)
      end
      for _ = 1, 20 do
        if math.random(1000) <= 200 then lab.disconnect(c, math.random(5)) end
        if math.random(1000) <= 500 then
          local id = math.random(5)
          if not c:node(id):alive() then c:restart(id) end
          lab.connect(c, id)
        end
        if math.random(1000) <= 200 then
          local id = math.random(5)
          if c:node(id):alive() then c:crash(id) end
        end
        c:run_for(700)
      end
      c:run_for(1000)
      c:heal()
      for id = 1, 5 do
        if not c:node(id):alive() then c:restart(id) end
      end
      stop = true
      for _, client in ipairs(clients) do client:join() end
      c:run_for(1000)
      lab.one(c, "the end", 5)
      t.gt(#seen, 0)
      for _, commit in ipairs(seen) do
        local _, bytes = c:committed(commit.index)
        t.eq(bytes, commit.value, "what a client saw committed")
      end
    end, { modes = { "sim" }, seeds = SEEDS, timeout_ms = 600000 })
  end
end)
