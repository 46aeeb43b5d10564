-- What the laboratory scenarios share: opaque commands and agreement on them, as the well-known test
-- suite for student Raft implementations has it.
local t = require "moonkeeper.test"

local lab = {}

-- No added delay, nothing lost.
lab.reliable = { latency_ms = 0 }

-- A tenth of the requests and a tenth of the replies are lost, and see below.
lab.unreliable = { latency_ms = 0, loss = 0.1 }

function lab.cluster(n, network, more)
  local options = { n = n }
  for _, given in ipairs { network or lab.reliable, more or {} } do
    for key, value in pairs(given) do options[key] = value end
  end
  local c = t.cluster(options)
  -- Requests take their time, each its own: they overtake each other.
  if network == lab.unreliable then c:delay(nil, nil, 0, 26, { type = "requests" }) end
  c:start()
  return c
end

-- Two thirds of the replies come 200 + rand(0..rand(0..1999)) ms later. The inner number is drawn for each
-- link, so this is to be called again and again.
function lab.reorder_replies(c)
  for from = 1, c.n do
    for to = 1, c.n do
      if from ~= to then
        c:delay(from, to, 200, 200 + math.random(0, 1999), { type = "replies", probability = 2 / 3 })
      end
    end
  end
end

-- The i-th node after this one, around the ring.
function lab.after(c, id, i) return (id - 1 + i) % c.n + 1 end

function lab.disconnect(c, ...)
  for _, id in ipairs { ... } do c:isolate(id) end
end

function lab.connect(c, ...)
  for _, id in ipairs { ... } do c:connect(id) end
end

-- Who takes part: up and connected.
local function is_there(c, id) return c:node(id):alive() and not c:is_isolated(id) end

-- The one leader among the nodes that are up and connected, at most one in each term.
function lab.check_one_leader(c)
  local leader
  c:run_until(function()
    local by_term, newest = {}, 0
    for i = 1, c.n do
      local node = c:node(i)
      local now = is_there(c, i) and node:state()
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
    if is_there(c, i) then
      t.ne(c:node(i):role(), "leader", "n" .. i .. " leads without a majority")
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
    if is_there(c, i) and c:node(i):role() == "leader" then
      local index = c:node(i):submit(value)
      if index then return index end
    end
  end
end

-- Within ten seconds a leader accepts the value, and at least k nodes apply it at that index.
function lab.one(c, value, k)
  value = tostring(value)
  local deadline = c:now_ms() + 10000
  while c:now_ms() < deadline do
    local index = lab.start(c, value)
    if index then
      local patience = c:now_ms() + 2000
      while c:now_ms() < patience do
        local count, bytes = c:committed(index)
        if count >= k and bytes == value then return index end
        c:run_for(2)
      end
    else
      c:run_for(10)
    end
  end
  t.fail(("value %s was not agreed on by %d nodes within ten seconds"):format(value, k))
end

function lab.committed(c, index) return (c:committed(index)) end

return lab
