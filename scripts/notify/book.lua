-- What the log has of events, as this node has applied it; and the commands of a leader that change it.
local mk = require "moonkeeper"

local BATCH = 100 -- events that one command changes

local Book = {}
Book.__index = Book

local book = {}

-- For one leadership. keys: events (a prefix) and trimmed.
function book.new(lead, settings, keys)
  return setmetatable({
    lead = lead, settings = settings, keys = keys,
    -- By key: { key, value, version }; and, by the clock that only goes on, when it was heard of or, if it is
    -- over, since when it is: since_ms.
    at = {},
    synced = false, -- at has all that there is
  }, Book)
end

-- The value says when that was by the clock of whoever wrote it. That may be wrong, or ours: it was not later
-- than now; and what is still to be told is told for half of give_up_ms at least by each leader.
function Book:learn(key, value, version)
  local age_ms = math.max(0, mk.time.wall_ms() - (value.over_ms or value.heard_ms))
  if value.state == "pending" then age_ms = math.min(age_ms, self.settings.give_up_ms // 2) end
  self.at[key] = { key = key, value = value, version = version, since_ms = mk.time.now_ms() - age_ms }
end

-- Anybody may write there.
local function is_event(value, id)
  return type(value) == "table" and value.id == id and type(value.event) == "string"
    and type(value.text) == "string" and math.type(value.term) == "integer" and type(value.about) == "table"
    and math.type(value.heard_ms) == "integer"
    and (value.state == "pending" or math.type(value.over_ms) == "integer")
end

-- The leader is the only one that changes what is there. changed is set when there is something new;
-- on_synced is called when all is known.
function Book:follow(changed, on_synced)
  for ev in mk.kv.watch(self.keys.events, { initial = true }) do
    local known = self.at[ev.key]
    if ev.type == "set" and not is_event(ev.value, ev.key:sub(#self.keys.events + 1)) then
      mk.log.warn("notify: this key is no event's", { key = ev.key })
      self.at[ev.key] = nil
    elseif ev.type == "set" and (not known or known.version < ev.version) then
      self:learn(ev.key, ev.value, ev.version)
    elseif ev.type == "delete" then
      self.at[ev.key] = nil
    elseif ev.type == "gap" then
      self.at, self.synced = {}, false
    elseif ev.type == "synced" then
      self.synced = true
      on_synced()
    end
    if self.synced then changed:set() end
  end
end

-- Is it still to be told?
function Book:is_pending(id)
  local item = self.at[self.keys.events .. id]
  return item and item.value.state == "pending"
end

-- What is to be told, in the order in which it came into the log; and what is over, in the order of that.
function Book:sorted()
  local pending, over = {}, {}
  for _, item in pairs(self.at) do
    table.insert(item.value.state == "pending" and pending or over, item)
  end
  local function earlier(a, b) return a.version < b.version end
  table.sort(pending, earlier)
  table.sort(over, earlier)
  return pending, over
end

-- How long until one more may be told: at most so many in a window, whoever led then.
function Book:budget_ms(over)
  local told = {}
  for _, item in ipairs(over) do
    if item.value.state == "accepted" then told[#told + 1] = item.since_ms end
  end
  local first_ms = told[#told - self.settings.most + 1]
  return first_ms and math.max(0, first_ms + self.settings.window_ms - mk.time.now_ms()) or 0
end

-- All or none, and only while this node leads. Returns once it is known to be done; or false: the log has
-- something that this node has not heard of yet, and the next look may know.
function Book:commit(ops)
  while true do
    local done, err = mk.kv.txn(ops, { fence = self.lead.token })
    if done then
      for i, op in ipairs(ops) do
        if op.op == "set" and op.key ~= self.keys.trimmed then
          self:learn(op.key, op.value, done[i].version)
        else
          self.at[op.key] = nil
        end
      end
      return true
    end
    self.lead:check()
    mk.task.sleep(100)
    if err.code == "conflict" then return false end
  end
end

-- What this node proposed earlier is in the log when this returns, or never will be.
function Book:barrier() self:commit { { op = "get", key = self.keys.trimmed } } end

local function with_state(item, state, lead)
  local value = {}
  for name, field in pairs(item.value) do value[name] = field end
  value.state, value.over_ms, value.token = state, mk.time.wall_ms(), lead.token
  return { op = "set", key = item.key, value = value, if_version = item.version }
end

-- It is over: accepted or given_up. Returns as commit.
function Book:close(item, state) return self:commit { with_state(item, state, self.lead) } end

-- Many wait: they become one event that lists them.
function Book:sum_up(pending)
  local last = math.min(#pending, BATCH)
  local summary = { id = ("summary-%d-%d"):format(pending[1].version, pending[last].version),
    event = "summary", term = self.lead.term, about = {}, events = {}, count = 0,
    heard_by = mk.info().id, heard_ms = mk.time.wall_ms(), state = "pending" }
  local ops = {}
  for i = 1, last do
    local value = pending[i].value
    local parts = value.events or { { id = value.id, text = value.text, time_ms = value.heard_ms } }
    summary.count = summary.count + (value.count or 1)
    table.move(parts, 1, math.min(#parts, BATCH - #summary.events), #summary.events + 1, summary.events)
    ops[i] = with_state(pending[i], "summed", self.lead)
  end
  summary.text = ("%d events, the last: %s"):format(summary.count, pending[last].value.text)
  ops[#ops + 1] = { op = "set", key = self.keys.events .. summary.id, value = summary, if_version = 0 }
  self:commit(ops)
end

-- The oldest go, when there are many more than are kept. What they were is remembered by their terms and
-- indexes alone.
function Book:trim(over)
  local keep = self.settings.keep
  if #over <= keep + math.min(keep, BATCH) then return end
  local trimmed, err = mk.kv.get(self.keys.trimmed)
  if not trimmed and err then error(err, 0) end
  trimmed = trimmed or { term = 0, index = 0 }
  local ops = { { op = "set", key = self.keys.trimmed, value = trimmed } }
  for i = 1, math.min(#over - keep, BATCH) do
    local value = over[i].value
    if value.about.index then
      trimmed.index = math.max(trimmed.index, value.about.index)
    elseif value.event ~= "summary" then -- whose id never comes again
      trimmed.term = math.max(trimmed.term, value.term)
    end
    ops[#ops + 1] = { op = "delete", key = over[i].key }
  end
  self:commit(ops)
end

return book
