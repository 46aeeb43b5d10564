-- What a receiver of scripts/notify.lua has got, and what the log says of it.
local mk = require "moonkeeper"
local t = require "moonkeeper.test"

local notices = {}

notices.URL = "http://hook.example/cluster"
notices.PREFIX = "notify/events/"

-- options: of t.cluster, and script, if it is not the bundled one.
function notices.cluster(mode, config, options)
  local o = { n = 3, mode = mode, script = "bundled:notify" }
  for name, value in pairs(options or {}) do o[name] = value end
  config.url = config.argv == nil and notices.URL or nil
  o.scripts = { { name = "notify", script = o.script, config = config },
    "tests/scenarios/scripts/witness.lua" }
  o.script = nil
  local c = t.cluster(o)
  c:http_server("http://witness.example/", { latency_ms = 0 })
  return c
end

-- What was received, as Lua values, with when and how it was answered.
function notices.received(c)
  local all = {}
  for i, request in ipairs(c:http_requests(notices.URL)) do
    local notice = mk.json.decode(request.body)
    notice.at_ms, notice.status, notice.answered = request.at_ms, request.status, request.answered
    notice.key, notice.node = request.headers["idempotency-key"], request.node
    t.eq(notice.key, notice.id, "the idempotency-key is the event's id")
    all[i] = notice
  end
  return all
end

-- The events in the log: id -> value.
function notices.logged(c)
  local found, after = {}, nil
  repeat
    local page = t.ok(c:query("kv", "list", { prefix = notices.PREFIX, after = after, limit = 1000 }))
    for _, item in ipairs(page.items) do found[item.value.id] = item.value end
    after = page.next
  until after == nil or after == mk.null
  return found
end

-- When the acceptance of each was known to be committed: the first time that a node applied it.
function notices.committed(c)
  local at = {}
  for _, request in ipairs(c:http_requests()) do
    local id = request.url:match "^http://witness.example/%?(.*)$"
    if id and not at[id] then at[id] = request.at_ms end
  end
  return at
end

-- Nothing is sent again under one token once a node has heard, under that token, that it was accepted,
-- whether or not it could be committed: there the node itself remembers it.
-- Where no process is stopped as the answer comes, and its task ended for that.
function notices.check_heard(c)
  local heard_ms = {}
  for _, notice in ipairs(notices.received(c)) do
    local what = notice.id .. " under token " .. notice.token
    if heard_ms[what] then
      t.fail(("%s was accepted at %.3f ms, and sent again at %.3f ms by %s"):format(what, heard_ms[what],
        notice.at_ms, notice.node))
    end
    if notice.answered and notice.status // 100 == 2 then heard_ms[what] = notice.at_ms end
  end
end

-- All that is in the log was told or is part of a summary, and nothing was told again once that was
-- committed.
-- late_ms: how long a request may be on its way. Returns how many were told.
function notices.check(c, late_ms)
  local logged = c:run_until(function()
    local all = notices.logged(c)
    for _, value in pairs(all) do
      if value.state == "pending" then return nil end
    end
    return all
  end, 120000, "all is told")
  local committed, taken = nil, {}
  c:run_until(function()
    committed = notices.committed(c)
    for id, value in pairs(logged) do
      if value.state == "accepted" and not committed[id] then return false end
    end
    return true
  end, 20000, "some node has said of all that is accepted that it heard of that")
  for _, notice in ipairs(notices.received(c)) do
    taken[notice.id] = taken[notice.id] or notice.status == 200
    local at_ms, value = committed[notice.id], logged[notice.id]
    if at_ms and notice.at_ms > at_ms + late_ms and not (value and notice.token < value.token) then
      t.fail(("%s was told at %.3f ms (token %d), and its acceptance committed by %.3f ms (token %d)"):format(
        notice.id, notice.at_ms, notice.token, at_ms, value and value.token or 0))
    end
  end
  local told = 0
  for id, value in pairs(logged) do
    if value.state == "accepted" then
      told = told + 1
      t.ok(taken[id], id .. " is said to be accepted, and nobody accepted it")
    else
      t.eq(value.state, "summed", id)
    end
  end
  return told
end

return notices
