-- A job on the leader: what is due or requested is put into its records, and then done.
local mk = require "moonkeeper"
local plan = require "cron.plan"
local records = require "cron.records"
local run = require "cron.run"

local LOOK_MS = 10000 -- clocks on the wall may be set: look at them this often
local AGAIN_MS = 1000 -- after a command that failed
local BATCH = 50 -- slots that one command decides on

local Job = {}
Job.__index = Job

local job = {}

-- Of settings: prefix and stop_ms. Of options: those of one of settings.jobs.
function job.new(lead, settings, options)
  return setmetatable({
    lead = lead, options = options, stop_ms = settings.stop_ms,
    records = records.new(lead, settings.prefix, options),
    schedule = mk.cron.parse(options.schedule, { tz = options.tz }), -- nil: that of a job that is gone
    requests = {}, -- { key, version }, as they came
    wake = mk.task.event(), -- there is something to do before the next slot
  }, Job)
end

function Job:request(key, version)
  table.insert(self.requests, { key = key, version = version })
  self.wake:set()
end

-- Done here, or told by the log: whichever comes first.
function Job:forget(key)
  for i, request in ipairs(self.requests) do
    if request.key == key then return table.remove(self.requests, i) end
  end
end

function Job:forget_all() self.requests = {} end

-- Put into the log what becomes of the slots that have become due.
function Job:decide(now_ms)
  local log, o = self.records, self.options
  local slots = plan.due(self.schedule, log.state.considered_ms, now_ms)
  if #slots == 0 then return end
  local decided, beyond, kills = plan.decide(o, slots, {
    ms = now_ms, is_running = self.running ~= nil, queued = #log:find "queued",
    is_known = function(slot_ms) return log:is_known(slot_ms) end,
  })
  if beyond > 0 then
    mk.log.warn("cron: missed, too many to keep a record of each", { job = o.name, slots = beyond })
    log.state.counts.missed = (log.state.counts.missed or 0) + beyond
  end
  if kills then self.running:kill() end
  for first = 1, math.max(#decided, 1), BATCH do
    local last, changed = math.min(first + BATCH - 1, #decided), {}
    for i = first, last do changed[#changed + 1] = log:add(decided[i].slot_ms, decided[i].state) end
    log.state.considered_ms = last < #decided and decided[last].slot_ms or slots[#slots]
    log:commit(changed)
  end
end

-- Somebody asked for a run besides: moonkeeper cron run
function Job:answer(now_ms)
  while self.requests[1] do
    local request, log = self.requests[1], self.records
    local state, kills = plan.on_time(self.options, self.running ~= nil, #log:find "queued")
    if kills then self.running:kill() end
    log:commit({ log:add(now_ms, state, request) }, request)
    self:forget(request.key)
  end
end

-- The first that may run now.
function Job:start(now_ms)
  for _, record in ipairs(self.records:find "queued") do
    local value = record.value
    if (record.due_ms or 0) <= mk.time.now_ms() then
      local attempt = value.attempt + 1
      record.value = { slot = value.slot, slot_ms = value.slot_ms, retry_after = value.retry_after,
        state = "running", attempt = attempt, node = mk.info().id, began_ms = now_ms }
      self.records:commit { record }
      self.running = run.start({ lead = self.lead, key = record.key, options = self.options,
        slot = value.slot, attempt = attempt, stop_ms = self.stop_ms }, self.wake)
      return
    end
  end
end

function Job:finish()
  for _, record in ipairs(self.records:find "running") do
    if record.key == self.running.key then
      self.records:ended(record, self.running.state, self.running.how)
      self.records:commit { record }
    end
  end
  self.running = nil
end

function Job:load()
  self.records:load(self.running and self.running.key)
  self.is_loaded = true
end

-- All that there is to do now. Returns how long to wait then.
function Job:step()
  if not self.is_loaded then self:load() end
  if self.running and self.running.state then self:finish() end
  local now_ms = mk.time.wall_ms()
  self:decide(now_ms)
  self:answer(now_ms)
  now_ms = mk.time.wall_ms() -- what was written took its time
  if not self.running then self:start(now_ms) end
  local next_ms = self.schedule:next(self.records.state.considered_ms)
  local soonest = LOOK_MS
  for _, record in ipairs(self.records:find "queued") do
    if not self.running then soonest = math.min(soonest, (record.due_ms or 0) - mk.time.now_ms()) end
  end
  return math.max(0, math.min(soonest, next_ms and next_ms - now_ms or LOOK_MS))
end

-- Do it, for as long as this node leads.
function Job:keep()
  while true do
    self.wake:clear()
    local good, wait_ms = pcall(self.step, self)
    if not good then
      self.lead:check()
      mk.task.checkpoint() -- raises when it was this task that was ended
      mk.log.warn("cron: trying again", { job = self.options.name, err = tostring(wait_ms) })
      self.is_loaded, wait_ms = false, AGAIN_MS
    end
    self.wake:wait(wait_ms)
  end
end

-- The configuration does not have it any more: it runs no more, its history stays.
function Job:retire()
  self:load()
  local log = self.records
  local queue = log:find "queued"
  log.state.removed = true
  for i = 1, math.max(#queue, 1), BATCH do
    local changed = table.move(queue, i, i + BATCH - 1, 1, {})
    for _, record in ipairs(changed) do log:ended(record, "skipped") end
    log:commit(changed)
  end
end

return job
