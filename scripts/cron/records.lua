-- What the log has of a job: its own key, and a record of each slot that was decided on.
local mk = require "moonkeeper"

local MOST_DELETED = 50 -- by one command

local Records = {}
Records.__index = Records

local records = {}

function records.new(lead, prefix, options)
  return setmetatable({
    lead = lead, options = options,
    key = prefix .. "/jobs/" .. options.name,
    runs_prefix = prefix .. "/runs/" .. options.name .. "/",
    -- Once loaded: state and version of the job's key; all (oldest first), known (by key), and open: what is
    -- queued or running. A record that waits for its retry has due_ms, by this node's own clock.
  }, Records)
end

local function text_of(ms) return os.date("!%Y-%m-%dT%H:%M:%SZ", ms // 1000) end

-- Write the job and these records in one command. It is refused if this node leads no longer, or if the job
-- was written by anybody else. Returns once it is known to be done: what gets no answer is asked for again.
function Records:commit(changed, request)
  local running = self:find("running")[1]
  self.state.running = running and { slot = running.value.slot, node = running.value.node }
  self.state.queued = #self:find "queued"
  self.state.write = math.random(0) -- tells this write from all others
  local ops = { { op = "set", key = self.key, value = self.state, if_version = self.version } }
  for _, record in ipairs(changed) do
    ops[#ops + 1] = { op = "set", key = record.key, value = record.value }
  end
  for _, record in ipairs(self:take_oldest()) do ops[#ops + 1] = { op = "delete", key = record.key } end
  if request then ops[#ops + 1] = { op = "delete", key = request.key, if_version = request.version } end
  repeat
    local done, err = mk.kv.txn(ops, { fence = self.lead.token })
    local version = done and done[1].version
    if not version then
      self.lead:check()
      local found, found_version = mk.kv.get(self.key)
      if found and found.write == self.state.write then
        version = found_version
      elseif err.code ~= "outcome_unknown" and err.code ~= "timeout" then
        error(err, 0)
      end
    end
    self.version = version
  until version
end

-- Those that are over, beyond what the history holds.
function Records:take_oldest()
  local taken, i = {}, 1
  while #self.all > self.options.history and i <= #self.all and #taken < MOST_DELETED do
    if self.all[i].value.ended_ms then
      taken[#taken + 1] = table.remove(self.all, i)
      self.known[taken[#taken].key] = nil
    else
      i = i + 1
    end
  end
  return taken
end

-- Anybody may write there.
local function is_record(value)
  return type(value) == "table" and type(value.slot) == "string" and type(value.state) == "string"
    and math.type(value.slot_ms) == "integer" and math.type(value.attempt) == "integer"
    and math.type(value.not_before_ms or 0) == "integer"
end

-- Read the log: at the beginning, and when it is not as we thought. What ran under an earlier leader was
-- stopped before this one began; running_key is what runs here.
function Records:load(running_key)
  local state, version = mk.kv.get(self.key)
  if not state and version then error(version, 0) end
  local o, now_ms = self.options, mk.time.wall_ms()
  self.state, self.version = type(state) == "table" and state or {}, version or 0
  if type(self.state.counts) ~= "table" then self.state.counts = {} end
  self.all = {}
  for _, item in ipairs(assert(mk.kv.list(self.runs_prefix))) do
    if is_record(item.value) then
      self.all[#self.all + 1] = item
    else
      mk.log.warn("cron: this key is no run's", { key = item.key })
    end
  end
  local is_other = self.state.schedule ~= o.schedule or self.state.tz ~= o.tz or self.state.removed
  if is_other or math.type(self.state.considered_ms) ~= "integer" then
    self.state.considered_ms = now_ms -- nothing is due from before it was so
  end
  for _, name in ipairs { "name", "schedule", "tz", "argv", "overlap", "missed", "window_ms", "history" } do
    self.state[name] = o[name]
  end
  self.state.removed = nil
  if self.state.considered_ms > now_ms + 3600 * 1000 then
    mk.log.warn("cron: the slots of the next hour and more are through: was a clock wrong, or is ours?",
      { job = o.name, considered = text_of(self.state.considered_ms) })
  end
  self.open, self.known = {}, {}
  for _, record in ipairs(self.all) do
    local value = record.value
    self.known[record.key] = true
    if not value.ended_ms then self.open[#self.open + 1] = record end
    -- By the clock of whoever wrote it, which may be wrong, or ours: no pause is longer than it should be.
    local pause_ms = (value.not_before_ms or 0) - now_ms
    record.due_ms = mk.time.now_ms() + math.max(0, math.min(pause_ms, o.retry_ms))
  end
  local interrupted = {}
  for _, record in ipairs(self:find "running") do
    if record.key ~= running_key then
      self:ended(record, "interrupted")
      interrupted[#interrupted + 1] = record
    end
  end
  self:commit(interrupted)
end

function Records:find(state)
  local found = {}
  for _, record in ipairs(self.open) do
    if record.value.state == state then found[#found + 1] = record end
  end
  return found
end

function Records:is_known(slot_ms) return self.known[self.runs_prefix .. text_of(slot_ms)] end

-- The record of a slot, or of a run that was requested besides.
function Records:add(slot_ms, state, request)
  local id = text_of(slot_ms) .. (request and "+" .. request.key:match "[^/]*$" or "")
  local record = { key = self.runs_prefix .. id,
    value = { slot = id, slot_ms = slot_ms, state = "queued", attempt = 0 } }
  self.all[#self.all + 1], self.open[#self.open + 1], self.known[record.key] = record, record, true
  if state ~= "queued" then self:ended(record, state) end
  return record
end

-- A record has come to its end, or is to be tried again.
function Records:ended(record, state, how)
  local value, now_ms = record.value, mk.time.wall_ms()
  for name, detail in pairs(how or {}) do value[name] = detail end
  mk.log[state == "ok" and "info" or "warn"]("cron: " .. state, { job = self.options.name, slot = value.slot,
    attempt = value.attempt, code = value.code, signal = value.signal, err = value.err })
  local may_retry = state == "failed" or state == "timeout" or state == "interrupted"
  if may_retry and value.attempt <= self.options.retries then
    value.state, value.retry_after, value.not_before_ms = "queued", state, now_ms + self.options.retry_ms
    record.due_ms = mk.time.now_ms() + self.options.retry_ms
    return
  end
  for i, other in ipairs(self.open) do
    if other == record then table.remove(self.open, i) break end
  end
  value.state, value.ended_ms = state, now_ms
  self.state.counts[state] = (self.state.counts[state] or 0) + 1
  self.state.last = { slot_ms = value.slot_ms, state = state, ended_ms = now_ms }
end

return records
