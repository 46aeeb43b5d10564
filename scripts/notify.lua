-- notify: what happens to the cluster is told to a webhook or to a program: elections, terms, the quorum,
-- members. Settings, keys and promises are in scripts/README.md.
--
-- Every node puts what it hears of into the log, under a key that all of them agree on: whoever is first
-- counts. The leader tells it on, and puts into the log that it was accepted:
--
--   pending -> accepted            the receiver has it
--           -> summed              it is part of a summary, which is an event of its own
--           -> given_up            nobody accepted it for give_up_ms
--
-- notify/events.lua says what each event is called, and is in words; notify/receiver.lua sends it.
local mk = require "moonkeeper"
local events = require "notify.events"
local receiver = require "notify.receiver"

local settings = mk.config.declare {
  prefix = { type = "string", min = 1, default = "notify" },
  url = { type = "string", check = receiver.check_url },
  headers = { type = "table", values = { type = "string" }, check = receiver.check_headers },
  argv = { type = "table", min = 1, items = { type = "string" } },
  events = { type = "table", min = 1, default = events.kinds,
    items = { type = "string", one_of = events.kinds } },
  timeout_ms = { type = "integer", min = 1, default = 10000 },
  retry_ms = { type = "integer", min = 1, default = 1000 },
  retry_max_ms = { type = "integer", min = 1, default = 60000 },
  give_up_ms = { type = "integer", min = 1, default = 24 * 3600 * 1000 },
  most = { type = "integer", min = 1, default = 10 },
  window_ms = { type = "integer", min = 1, default = 60000 },
  keep = { type = "integer", min = 1, max = 10000, default = 500 },
}
if (settings.url == nil) == (settings.argv == nil) then
  error("config: either url (a webhook) or argv (a program) is needed, and not both", 0)
end
if settings.keep < settings.most then error("config: keep must be at least as much as most", 0) end

local EVENTS, TRIMMED = settings.prefix .. "/events/", settings.prefix .. "/trimmed"
local BATCH = 100 -- events that one command changes
local me = mk.info().id

-- Hearing, on every node ------------------------------------------------------------------------------

-- Until it is in the log. The leader is first, as a rule: others give it a moment. What is below the
-- watermark was in the log once: a node that comes back hears of members anew.
local function record(event)
  if not mk.raft.is_leader() then mk.task.sleep(math.random(20, 60)) end
  while not mk.kv.get(EVENTS .. event.id, { read = "local" }) do
    local trimmed, err = mk.kv.get(TRIMMED)
    local number = event.about.index or event.term
    if trimmed and number <= (event.about.index and trimmed.index or trimmed.term) then return end
    if trimmed or not err then
      local _, why = mk.kv.set(EVENTS .. event.id, event, { if_version = 0 })
      if not why or why.code == "conflict" then return end
    end
    mk.task.sleep(settings.retry_ms)
  end
end

-- Who has lost the quorum cannot put anything into the log, and tells of that at once: when there is a quorum
-- again, it is too late for it. Again and again, until it is accepted or a leader is there to tell it.
local told_ms = -settings.window_ms
local function tell_now(event)
  local pause_ms = settings.retry_ms
  while mk.time.now_ms() - told_ms >= settings.window_ms do -- once in a window
    local accepted, why = receiver.send(settings, event, 0)
    if accepted then
      told_ms, event.state, event.over_ms = mk.time.now_ms(), "accepted", mk.time.wall_ms()
      return
    end
    mk.log.warn("notify: not accepted", { id = event.id, why = why, again_ms = pause_ms })
    mk.task.sleep(pause_ms)
    if (mk.raft.status().leader_id or "") ~= "" then return end
    pause_ms = math.min(pause_ms * 2, settings.retry_max_ms)
  end
end

local heard, urgent = mk.task.channel(1000), mk.task.channel(10)
for _, name in ipairs(settings.events) do
  local replay = name == "leader_elected" or name == "term_change" or nil
  -- What was heard before may have to wait for the quorum.
  local to = name == "quorum_lost" and urgent or heard
  mk.on(name, function(ev) to:send(events.describe(ev)) end, { name = "notify", replay = replay })
end
mk.task.spawn(function()
  while true do
    local event = urgent:recv()
    tell_now(event)
    heard:send(event)
  end
end)
mk.task.spawn(function()
  while true do record(heard:recv()) end
end)

-- Telling, on the leader ------------------------------------------------------------------------------

-- Ids of what somebody accepted from this node, and is not in the log yet. A leader whose lease lapses in
-- between, and who leads on in the same term, must not send it again.
local accepted_here = mk.saved or {}
mk.on_reload(function() return accepted_here end)

-- What is in the log by now, or has gone from it, needs no remembering.
local function forget(known)
  for id in pairs(accepted_here) do
    local item = known.at[EVENTS .. id]
    if not item or item.value.state ~= "pending" then accepted_here[id] = nil end
  end
end

-- What stands in the log, as this node has applied it. The leader is the only one that changes what is there.
local function follow(known, changed)
  for ev in mk.kv.watch(EVENTS, { initial = true }) do
    if ev.type == "set" and (not known.at[ev.key] or known.at[ev.key].version < ev.version) then
      known.at[ev.key] = { key = ev.key, value = ev.value, version = ev.version }
    elseif ev.type == "delete" then
      known.at[ev.key] = nil
    elseif ev.type == "gap" then
      known.at, known.synced = {}, false
    elseif ev.type == "synced" then
      known.synced = true
      forget(known)
    end
    if known.synced then changed:set() end
  end
end

-- What is to be told, in the order in which it came into the log; and what is over, in the order of that.
local function sorted(known)
  local pending, over = {}, {}
  for _, item in pairs(known.at) do
    table.insert(item.value.state == "pending" and pending or over, item)
  end
  table.sort(pending, function(a, b) return a.version < b.version end)
  table.sort(over, function(a, b) return a.value.over_ms < b.value.over_ms end)
  return pending, over
end

-- All or none, and only while this node leads. Returns once it is known to be done; or false: the log has
-- something that this node has not heard of yet, and the next step may know.
local function commit(lead, known, ops)
  while true do
    local done, err = mk.kv.txn(ops, { fence = lead.token })
    if done then
      for i, op in ipairs(ops) do
        local stays = op.op == "set" and op.key ~= TRIMMED
        known.at[op.key] = stays and { key = op.key, value = op.value, version = done[i].version } or nil
      end
      return true
    end
    lead:check()
    mk.task.sleep(100)
    if err.code == "conflict" then return false end
  end
end

local function with_state(item, state, lead)
  local value = {}
  for name, field in pairs(item.value) do value[name] = field end
  value.state, value.over_ms, value.token = state, mk.time.wall_ms(), lead.token
  return { op = "set", key = item.key, value = value, if_version = item.version }
end

-- Many wait: they become one event that lists them.
local function sum_up(lead, known, pending)
  local last = math.min(#pending, BATCH)
  local summary = { id = ("summary-%d-%d"):format(pending[1].version, pending[last].version),
    event = "summary", term = lead.term, about = {}, events = {}, count = 0,
    heard_by = me, heard_ms = mk.time.wall_ms(), state = "pending" }
  local ops = {}
  for i = 1, last do
    local value = pending[i].value
    local parts = value.events or { { id = value.id, text = value.text, time_ms = value.heard_ms } }
    summary.count = summary.count + (value.count or 1)
    table.move(parts, 1, math.min(#parts, BATCH - #summary.events), #summary.events + 1, summary.events)
    ops[i] = with_state(pending[i], "summed", lead)
  end
  summary.text = ("%d events, the last: %s"):format(summary.count, pending[last].value.text)
  ops[#ops + 1] = { op = "set", key = EVENTS .. summary.id, value = summary, if_version = 0 }
  commit(lead, known, ops)
end

-- The oldest go, and what they were is remembered by their terms and indexes alone.
local function trim(lead, known, over)
  local trimmed, err = mk.kv.get(TRIMMED)
  if not trimmed and err then error(err, 0) end
  trimmed = trimmed or { term = 0, index = 0 }
  local ops = { { op = "set", key = TRIMMED, value = trimmed } }
  for i = 1, math.min(#over - settings.keep, BATCH) do
    local value = over[i].value
    if value.about.index then
      trimmed.index = math.max(trimmed.index, value.about.index)
    elseif value.event ~= "summary" then -- whose id never comes again
      trimmed.term = math.max(trimmed.term, value.term)
    end
    ops[#ops + 1] = { op = "delete", key = over[i].key }
  end
  commit(lead, known, ops)
end

-- How long until one more may be told: at most so many in a window, whoever led then.
local function budget_ms(over)
  local told = {}
  for _, item in ipairs(over) do
    if item.value.state == "accepted" then told[#told + 1] = item.value.over_ms end
  end
  local first = told[#told - settings.most + 1]
  local wait_ms = first and first + settings.window_ms - mk.time.wall_ms() or 0
  return math.max(0, math.min(wait_ms, settings.window_ms))
end

local function commit_accepted(lead, known, item)
  if not commit(lead, known, { with_state(item, "accepted", lead) }) then return end
  accepted_here[item.value.id] = nil
  mk.log.info("notify: told", { id = item.value.id, text = item.value.text })
end

-- Tell the oldest. Returns how long to wait before the next; nil: there is none.
local function step(lead, known, retry)
  local pending, over = sorted(known)
  for _, item in ipairs(pending) do
    if accepted_here[item.value.id] then
      commit_accepted(lead, known, item)
      return 0
    end
  end
  if #over > settings.keep + math.min(settings.keep, BATCH) then trim(lead, known, over) end
  if #pending == 0 then return nil end
  local wait_ms = budget_ms(over)
  if wait_ms > 0 then
    known.held = true
    return wait_ms
  elseif known.held and #pending > 1 then
    known.held = false
    sum_up(lead, known, pending)
    return 0
  end
  known.held = false
  local item = pending[1]
  local accepted, why = receiver.send(settings, item.value, lead.token)
  accepted_here[item.value.id] = accepted or nil
  lead:check()
  if accepted then
    retry.ms = settings.retry_ms
    commit_accepted(lead, known, item)
    return 0
  elseif mk.time.wall_ms() - item.value.heard_ms > settings.give_up_ms then
    mk.log.error("notify: given up", { id = item.value.id, why = why })
    commit(lead, known, { with_state(item, "given_up", lead) })
    return 0
  end
  mk.log.warn("notify: not accepted", { id = item.value.id, why = why, again_ms = retry.ms })
  wait_ms, retry.ms = retry.ms, math.min(retry.ms * 2, settings.retry_max_ms)
  return wait_ms
end

mk.while_leader("notify", function(lead)
  local known, changed = { at = {}, synced = false, held = false }, mk.task.event()
  local retry = { ms = settings.retry_ms }
  -- What this node proposed before its lease lapsed is in the log before this, or never will be.
  commit(lead, known, { { op = "get", key = TRIMMED } })
  lead:spawn(follow, known, changed)
  while true do
    changed:wait()
    changed:clear()
    while known.synced do
      local wait_ms = step(lead, known, retry)
      if not wait_ms then break end
      mk.task.sleep(wait_ms)
    end
  end
end)
