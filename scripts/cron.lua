-- cron: programs at set times, each time once in the whole cluster. Settings, keys and promises are in
-- scripts/README.md; a smaller one of these is built step by step in lua/README.md.
--
-- A slot is a job and a time at which it is due. The leader considers slots in their order; what becomes of
-- each stands in the log before anything is done about it:
--
--   queued -> running -> ok, failed, timeout, killed, interrupted     (or queued again: a retry)
--   skipped   the one before was still running
--   missed    nobody led at its time, and the job's policy says to leave it at that
--
-- A leader holds nothing of its own but the program that it runs: everything else it reads from the log.
local mk = require "moonkeeper"

local LOOK_MS = 10000 -- clocks on the wall may be set: look at them this often
local AGAIN_MS = 1000 -- after a command that failed
local OLDEST_MS = 366 * 24 * 3600 * 1000 -- what was due before that is not looked for
local BATCH = 50 -- slots that one command decides on

local function is_schedule(spec)
  local _, err = mk.cron.parse(spec)
  return err and err.message
end

local function is_zone(tz)
  local _, err = mk.cron.parse("@daily", { tz = tz })
  return err and err.message
end

local function is_environment(env)
  for name in pairs(env) do
    if name == "" or name:find "[=\0]" then return ("'%s' is no name of a variable"):format(name) end
  end
end

local settings = mk.config.declare {
  prefix = { type = "string", default = "cron" },
  stop_ms = { type = "integer", min = 0, default = 5000 },
  jobs = { type = "table", required = true, items = { type = "table", fields = {
    name = { type = "string", required = true, check = function(name)
      return not name:match "^[%w_.-]+$" and "a name has letters, digits, '_', '-' and '.'"
    end },
    schedule = { type = "string", required = true, check = is_schedule },
    tz = { type = "string", default = "UTC", check = is_zone },
    argv = { type = "table", required = true, min = 1, items = { type = "string" } },
    env = { type = "table", values = { type = "string" }, check = is_environment },
    cwd = { type = "string" },
    timeout_ms = { type = "integer", min = 1 },
    overlap = { type = "string", one_of = { "skip", "queue", "kill" }, default = "skip" },
    missed = { type = "string", one_of = { "run_once", "run_all", "skip" }, default = "run_once" },
    window_ms = { type = "integer", min = 1000, default = 60000 },
    retries = { type = "integer", min = 0, default = 0 },
    retry_ms = { type = "integer", min = 0, default = 1000 },
    history = { type = "integer", min = 1, max = 10000, default = 100 },
  } } },
}

local function check_names(jobs)
  local seen = {}
  for i, job in ipairs(jobs) do
    local first = seen[job.name]
    if first then
      error(("config: jobs[%d].name: jobs[%d] is called '%s' too"):format(i, first, job.name), 0)
    end
    seen[job.name] = i
  end
end
check_names(settings.jobs)

local function text_of(ms) return os.date("!%Y-%m-%dT%H:%M:%SZ", ms // 1000) end

-- A job on the leader: what its keys say, and the program that runs ----------------------------------

local Job = {}
Job.__index = Job

local function new_job(lead, options)
  return setmetatable({
    lead = lead, name = options.name, options = options,
    key = settings.prefix .. "/jobs/" .. options.name,
    runs_prefix = settings.prefix .. "/runs/" .. options.name .. "/",
    schedule = mk.cron.parse(options.schedule, { tz = options.tz }), -- nil: that of a job that is gone
    requests = {},
    wake = mk.task.event(), -- there is something to do before the next slot
  }, Job)
end

-- Write the job and these records in one command. It is refused if this node leads no longer, or if the job
-- was written by anybody else. Returns once it is known to be done: what gets no answer is asked for again.
function Job:commit(changed, request)
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
function Job:take_oldest()
  local taken, i = {}, 1
  while #self.records > self.options.history and i <= #self.records and #taken < BATCH do
    if self.records[i].value.ended_ms then
      taken[#taken + 1] = table.remove(self.records, i)
      self.known[taken[#taken].key] = nil
    else
      i = i + 1
    end
  end
  return taken
end

-- Read the log: at the beginning, and when it is not as we thought. What ran under an earlier leader was
-- stopped before this one began.
function Job:load()
  local state, version = mk.kv.get(self.key)
  if not state and version then error(version, 0) end
  local o, now_ms = self.options, mk.time.wall_ms()
  self.state, self.version = state or { counts = {} }, version or 0
  self.records = assert(mk.kv.list(self.runs_prefix))
  if self.state.schedule ~= o.schedule or self.state.tz ~= o.tz or self.state.removed then
    self.state.considered_ms = now_ms -- nothing is due from before it was so
  end
  for _, name in ipairs { "name", "schedule", "tz", "argv", "overlap", "missed", "window_ms", "history" } do
    self.state[name] = o[name]
  end
  self.state.removed = nil
  if self.state.considered_ms > now_ms + 3600 * 1000 then
    mk.log.warn("cron: the slots of the next hour and more are through: was a clock wrong, or is ours?",
      { job = self.name, considered = text_of(self.state.considered_ms) })
  end
  self.open, self.known = {}, {} -- open: what is queued or running
  for _, record in ipairs(self.records) do
    self.known[record.key] = true
    if not record.value.ended_ms then self.open[#self.open + 1] = record end
  end
  local interrupted = {}
  for _, record in ipairs(self:find "running") do
    if not (self.running and self.running.key == record.key) then
      self:ended(record, "interrupted")
      interrupted[#interrupted + 1] = record
    end
  end
  self:commit(interrupted)
  self.is_loaded = true
end

function Job:find(state)
  local found = {}
  for _, record in ipairs(self.open) do
    if record.value.state == state then found[#found + 1] = record end
  end
  return found
end

-- A record has come to its end, or is to be tried again.
function Job:ended(record, state, how)
  local value, now_ms = record.value, mk.time.wall_ms()
  for name, detail in pairs(how or {}) do value[name] = detail end
  mk.log[state == "ok" and "info" or "warn"]("cron: " .. state, { job = self.name, slot = value.slot,
    attempt = value.attempt, code = value.code, signal = value.signal, err = value.err })
  local may_retry = state == "failed" or state == "timeout" or state == "interrupted"
  if may_retry and value.attempt <= self.options.retries then
    value.state, value.retry_after, value.not_before_ms = "queued", state, now_ms + self.options.retry_ms
    return
  end
  for i, other in ipairs(self.open) do
    if other == record then table.remove(self.open, i) break end
  end
  value.state, value.ended_ms = state, now_ms
  self.state.counts[state] = (self.state.counts[state] or 0) + 1
  self.state.last = { slot_ms = value.slot_ms, state = state, ended_ms = now_ms }
end

-- Deciding what becomes of a slot ------------------------------------------------------------------------

function Job:add(slot_ms, state, request)
  local id = text_of(slot_ms) .. (request and "+" .. request.key:match "[^/]*$" or "")
  local record = { key = self.runs_prefix .. id,
    value = { slot = id, slot_ms = slot_ms, state = "queued", attempt = 0 } }
  self.records[#self.records + 1], self.open[#self.open + 1], self.known[record.key] = record, record, true
  if state ~= "queued" then self:ended(record, state) end
  return record
end

-- It is due now.
function Job:on_time()
  local queue, overlap = #self:find "queued", self.options.overlap
  if not self.running and queue == 0 then return "queued" end
  if overlap == "kill" and self.running then self:kill() end
  return overlap ~= "skip" and queue < self.options.history and "queued" or "skipped"
end

-- It was due long ago: one run, of the last one, makes up for all that were missed.
function Job:too_late(is_last)
  local missed = self.options.missed
  return (missed == "run_all" or missed == "run_once" and is_last) and "queued" or "missed"
end

-- All that have become due since the last time, oldest first.
function Job:due(now_ms)
  local slots, at = {}, math.max(self.state.considered_ms, now_ms - OLDEST_MS)
  while true do
    at = self.schedule:next(at)
    if not at or at > now_ms then return slots end
    slots[#slots + 1] = at
    if #slots % 1000 == 0 then mk.task.checkpoint() end
  end
end

function Job:decide(now_ms)
  local slots, counts, changed, state = self:due(now_ms), self.state.counts, {}, nil
  local beyond = #slots - self.options.history
  if beyond > 0 then
    mk.log.warn("cron: missed, too many to keep a record of each", { job = self.name, slots = beyond })
  end
  for i, slot_ms in ipairs(slots) do
    self.state.considered_ms = slot_ms
    if i <= beyond then
      counts.missed = (counts.missed or 0) + 1
    elseif not self.known[self.runs_prefix .. text_of(slot_ms)] then -- it is, if our key was deleted by hand
      if now_ms - slot_ms > self.options.window_ms then
        state = self:too_late(i == #slots)
      elseif state ~= "queued" then -- else all run in turn, from there on
        state = self:on_time()
      end
      changed[#changed + 1] = self:add(slot_ms, state)
    end
    if #changed == BATCH or i == #slots then
      self:commit(changed)
      changed = {}
    end
  end
  while self.requests[1] do -- somebody asked for a run besides: moonkeeper cron run
    local request = self.requests[1]
    self:commit({ self:add(now_ms, self:on_time(), request) }, request)
    self:forget(request.key)
  end
end

-- Done here, or told by the log: whichever comes first.
function Job:forget(key)
  for i, request in ipairs(self.requests) do
    if request.key == key then return table.remove(self.requests, i) end
  end
end

-- Running ------------------------------------------------------------------------------------------------

local function filled(argv, values)
  local out = {}
  for i, text in ipairs(argv) do out[i] = text:gsub("{(%l+)}", values) end
  return out
end

-- The program, from its start to its end: what becomes of the record.
function Job:execute(run, slot, attempt)
  local o, env = self.options, {}
  for name, value in pairs(o.env or {}) do env[name] = value end
  env.CRON_JOB, env.CRON_SLOT, env.CRON_ATTEMPT = self.name, slot, tostring(attempt)
  local argv = filled(o.argv, { job = self.name, slot = slot, attempt = tostring(attempt) })
  local process = assert(mk.exec.spawn(argv, { env = env, cwd = o.cwd, stop_ms = settings.stop_ms }))
  run.process = process
  local status = not run.is_killed and process:wait(o.timeout_ms)
  local state = run.is_killed and "killed" or not status and "timeout"
  status = status or process:stop() or {}
  return state or status.code == 0 and "ok" or "failed", { code = status.code, signal = status.signal }
end

-- In a task of its own, after the log says that it runs here. Whatever goes wrong, the run comes to an end.
function Job:run(slot, attempt)
  local run = self.running
  local good, state, how = pcall(self.execute, self, run, slot, attempt)
  if not good then state, how = "failed", { err = tostring(state) } end
  run.state, run.how = state, how
  self.wake:set()
end

function Job:kill()
  local run = self.running
  run.is_killed = true
  if run.process and not run.state then self.lead:spawn(run.process.stop, run.process) end
end

-- The first that may run now.
function Job:start(now_ms)
  for _, record in ipairs(self:find "queued") do
    local value = record.value
    if (value.not_before_ms or 0) <= now_ms then
      record.value = { slot = value.slot, slot_ms = value.slot_ms, retry_after = value.retry_after,
        state = "running", attempt = value.attempt + 1, node = mk.info().id, began_ms = now_ms }
      self:commit { record }
      self.running = { key = record.key }
      self.lead:spawn(self.run, self, value.slot, record.value.attempt)
      return
    end
  end
end

function Job:finish()
  local run = self.running
  for _, record in ipairs(self:find "running") do
    if record.key == run.key then
      self:ended(record, run.state, run.how)
      self:commit { record }
    end
  end
  self.running = nil
end

-- All that there is to do now. Returns how long to wait then.
function Job:step()
  if not self.is_loaded then self:load() end
  if self.running and self.running.state then self:finish() end
  self:decide(mk.time.wall_ms())
  local now_ms, soonest = mk.time.wall_ms(), LOOK_MS
  if not self.running then self:start(now_ms) end
  local next_ms = self.schedule:next(self.state.considered_ms)
  for _, record in ipairs(self:find "queued") do
    if not self.running then soonest = math.min(soonest, record.value.not_before_ms - now_ms) end
  end
  return math.max(0, math.min(soonest, next_ms and next_ms - now_ms or LOOK_MS))
end

function Job:keep()
  while true do
    self.wake:clear()
    local good, wait_ms = pcall(self.step, self)
    if not good then
      self.lead:check()
      mk.task.checkpoint() -- raises when it was this task that was ended
      mk.log.warn("cron: trying again", { job = self.name, err = tostring(wait_ms) })
      self.is_loaded, wait_ms = false, AGAIN_MS
    end
    self.wake:wait(wait_ms)
  end
end

-- All jobs -------------------------------------------------------------------------------------------------

-- The configuration does not have it any more: it runs no more, its history stays.
function Job:retire()
  self:load()
  local queue = self:find "queued"
  self.state.removed = true
  for i = 1, math.max(#queue, 1), BATCH do
    local changed = table.move(queue, i, i + BATCH - 1, 1, {})
    for _, record in ipairs(changed) do self:ended(record, "skipped") end
    self:commit(changed)
  end
end

-- What stands in such keys may be of another version, or of a person: the others run all the same.
local function retire_others(lead, jobs)
  for _, item in ipairs(assert(mk.kv.list(settings.prefix .. "/jobs/"))) do
    local options, name = item.value, item.key:match "[^/]*$"
    local good, err = pcall(function()
      if jobs[name] or options.removed then return end
      options.name, options.retries = name, 0
      new_job(lead, options):retire()
    end)
    if not good then
      lead:check()
      mk.task.checkpoint()
      mk.log.warn("cron: this key is no job's", { key = item.key, err = tostring(err) })
    end
  end
end

-- Requests are keys: cron/requests/JOB/NUMBER.
local function take_requests(lead, jobs)
  for ev in mk.kv.watch(settings.prefix .. "/requests/", { initial = true }) do
    local name = ev.key and ev.key:match "([^/]*)/[^/]*$"
    local job = jobs[name]
    if ev.type == "set" and job then
      table.insert(job.requests, { key = ev.key, version = ev.version })
      job.wake:set()
    elseif ev.type == "set" then
      mk.log.warn("cron: asked to run a job that is not there", { job = name })
      mk.kv.delete(ev.key, { fence = lead.token })
    elseif ev.type == "delete" and job then
      job:forget(ev.key)
    elseif ev.type == "gap" then
      for _, other in pairs(jobs) do other.requests = {} end
    end
  end
end

mk.while_leader("cron", function(lead)
  local jobs = {}
  for _, options in ipairs(settings.jobs) do jobs[options.name] = new_job(lead, options) end
  retire_others(lead, jobs)
  for _, options in ipairs(settings.jobs) do lead:spawn(Job.keep, jobs[options.name]) end
  take_requests(lead, jobs)
end, { grace_ms = settings.stop_ms + 1000 })
