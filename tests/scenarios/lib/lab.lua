-- What the laboratory scenarios share: opaque commands and agreement on them, as the well-known test
-- suite for student Raft implementations has it.
local t = require "moonkeeper.test"

local lab = {}

-- No added delay, nothing lost.
lab.reliable = { latency_ms = { 0, 0 } }

-- Requests take 0-26 ms; a tenth of them is lost, and a tenth of the replies.
lab.unreliable = { latency_ms = { 0, 26 }, loss = 0.1 }

function lab.cluster(n, network, more)
  local options = { n = n }
  for _, given in ipairs { network or lab.reliable, more or {} } do
    for key, value in pairs(given) do options[key] = value end
  end
  local c = t.cluster(options)
  c:start()
  return c
end

-- Two thirds of the replies come 200 ms later, and up to two seconds more.
function lab.reorder_replies(c)
  for from = 1, c.n do
    for to = 1, c.n do
      if from ~= to then
        c:delay(from, to, 200, 2200, { type = "replies", probability = 2 / 3 })
      end
    end
  end
end

-- The i-th node after this one, around the ring.
function lab.after(c, id, i) return (id - 1 + i) % c.n + 1 end

local function others(c, id)
  local list = {}
  for i = 1, c.n do
    if i ~= id then list[#list + 1] = i end
  end
  return list
end

-- The network is a set of nodes that are connected with each other.
function lab.disconnect(c, ...)
  for _, id in ipairs { ... } do c:isolate(id) end
end

function lab.connect(c, ...)
  local gone = {}
  for i = 1, c.n do gone[i] = c:is_isolated(i) end
  for _, id in ipairs { ... } do gone[id] = false end
  c:heal()
  for i = 1, c.n do
    if gone[i] then c:isolate(i) end
  end
end

-- The one leader among the nodes that are up and connected, at most one in each term.
function lab.check_one_leader(c)
  local leader
  c:run_until(function()
    local by_term, newest = {}, 0
    for i = 1, c.n do
      local node = c:node(i)
      local now = not c:is_isolated(i) and node:alive() and node:state()
      if now and now.role == "leader" then
        t.ok(not by_term[now.term], "two leaders in term " .. now.term)
        by_term[now.term] = node
        newest = math.max(newest, now.term)
      end
    end
    leader = by_term[newest]
    return leader ~= nil
  end, 10000, "a leader among the connected nodes")
  return leader
end

function lab.check_no_leader(c)
  for i = 1, c.n do
    local node = c:node(i)
    if node:alive() and not c:is_isolated(i) then
      t.ne(node:role(), "leader", "n" .. i .. " leads without a majority")
    end
  end
end

function lab.check_same_term(c)
  local term = c:node(1):term()
  for i = 2, c.n do t.eq(c:node(i):term(), term, "the term of n" .. i) end
  return term
end

-- Hands the command to a connected leader that takes it: the index that it will have if it is committed.
function lab.start(c, value)
  for i = 1, c.n do
    local node = c:node(i)
    if node:alive() and not c:is_isolated(i) and node:role() == "leader" then
      local index = c:submit(value, { node = i })
      if index then return index end
    end
  end
end

-- Within ten seconds a leader accepts the value, and at least k nodes apply it at that index.
function lab.one(c, value, k, o)
  value = tostring(value)
  local deadline = c:now_ms() + (o and o.timeout_ms or 10000)
  while c:now_ms() < deadline do
    local index = lab.start(c, value)
    if index then
      local patience = c:now_ms() + 2000
      while c:now_ms() < patience do
        local count, bytes = c:committed(index)
        if count >= k and bytes == value then return index end
        c:run_for(2)
      end
      if o and o.once then t.fail("value " .. value .. " was not agreed on") end
    else
      c:run_for(10)
    end
  end
  t.fail(("value %s was not agreed on by %d nodes within ten seconds"):format(value, k))
end

function lab.committed(c, index) return (c:committed(index)) end

lab.others = others

return lab
