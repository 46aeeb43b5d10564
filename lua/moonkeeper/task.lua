-- mk.task: tasks and what they wait for.
local core = require "moonkeeper.core"

local task = {
  spawn = core.spawn,
  sleep = core.sleep,
  checkpoint = core.checkpoint,
  defer = core.defer,
}

-- Sleep until a time of mk.time.wall_ms().
function task.sleep_until(wall_ms)
  if type(wall_ms) ~= "number" then error("a time in ms is a number, not a " .. type(wall_ms), 2) end
  core.sleep(math.max(0, wall_ms - core.wall_ms()))
end

-- Pass on what a task was joined with: its results, or its error.
local function results_of(child, ...)
  if core.failed(child) then error((select(2, ...)), 0) end
  return ...
end

-- Run fn with everything that it spawns; return when all of it has ended. The first error ends the
-- rest and is raised here.
function task.scope(fn, ...)
  local child = core.spawn_scope(function(...)
    core.defer(function() -- what other deferred functions have spawned
      core.cancel_children("the scope is over")
      local child_error = core.join_children()
      if child_error ~= nil then error(child_error, 0) end
    end)
    local results = table.pack(pcall(fn, ...))
    if not results[1] then core.cancel_children("the scope has failed") end
    local child_error = core.join_children()
    if child_error ~= nil then error(child_error, 0) end
    if not results[1] then error(results[2], 0) end
    return table.unpack(results, 2, results.n)
  end, ...)
  return results_of(child, child:join())
end

local Run = { __close = function(run) run.is_over = true end }

-- Run fn for at most ms: its results, or nil and a timeout. An error in fn is raised here. All that it has
-- spawned ends with it, and has ended when this returns: what takes too long has its time to unwind, no more.
-- What fn has returned counts, even when programs that it left behind had to be killed.
function task.with_timeout(ms, fn, ...)
  if type(ms) ~= "number" then error("a time in ms is a number, not a " .. type(ms), 2) end
  core.until_ms(ms) -- raises before fn begins, if it is no time
  local run = setmetatable({}, Run)
  local child = core.spawn(function(...)
    core.defer(function()
      core.cancel_children("with_timeout")
      core.join_children()
    end)
    local _ <close> = run
    run.results = table.pack(fn(...))
    return table.unpack(run.results, 1, run.results.n)
  end, ...)
  child:join(ms)
  if run.is_over or child:done() then
    local results = table.pack(child:join())
    if run.results and core.was_killed(child) then
      core.log("warn", "what a function left behind had to be killed", { reason = tostring(results[2]) })
      return table.unpack(run.results, 1, run.results.n)
    end
    return results_of(child, table.unpack(results, 1, results.n))
  end
  child:cancel("with_timeout")
  core.wait_task(child) -- what goes wrong as it unwinds is reported, for nobody is told
  return nil, core.error("timeout", "it took longer than " .. ms .. " ms")
end

-- fn(item, index) for every item of list, at most limit at a time: the results, in the order of the
-- list. The first error ends the rest and is raised here.
function task.map(list, limit, fn)
  if type(limit) ~= "number" or limit < 1 then error("map(list, limit, fn): limit is 1 or more", 2) end
  local results, next_index, count = {}, 1, #list
  local function worker()
    while next_index <= count do
      local index = next_index
      next_index = index + 1
      results[index] = fn(list[index], index)
    end
  end
  task.scope(function()
    for _ = 1, math.min(limit, count) do core.spawn(worker) end
  end)
  return results
end

-- ---- waiting for each other ----------------------------------------------------------------------

-- Whoever waits leaves {task, ticket} in a list. A ticket names one wait, so that a waker cannot
-- disturb a later one of the same task.
local function wait_in(list, ms)
  local waiter = { task = core.current(), ticket = core.ticket() }
  list[#list + 1] = waiter
  local reason = core.park(ms)
  if reason ~= "woken" then
    for i, other in ipairs(list) do
      if other == waiter then
        table.remove(list, i)
        break
      end
    end
    core.check()
  end
  return reason == "woken"
end

local function wake_one(list)
  while #list > 0 do
    local waiter = table.remove(list, 1)
    if core.wake(waiter.task, waiter.ticket) then return true end
  end
  return false
end

local Event = {}
Event.__index = Event
Event.__name = "event"

function Event:set()
  self.is_set = true
  while wake_one(self.waiters) do end
end

function Event:clear() self.is_set = false end

-- True once it is set, false when ms are over.
function Event:wait(ms)
  core.check()
  return self.is_set or wait_in(self.waiters, ms)
end

function task.event() return setmetatable({ is_set = false, waiters = {} }, Event) end

local Channel = {}
Channel.__index = Channel
Channel.__name = "channel"

-- Waits while it is full.
function Channel:send(value)
  if value == nil then error("nil cannot be sent", 2) end
  core.check()
  while self.count >= self.capacity do wait_in(self.senders) end
  self.last = self.last + 1
  self.items[self.last] = value
  self.count = self.count + 1
  wake_one(self.receivers)
end

-- The oldest value; nil and a timeout when ms are over.
function Channel:recv(ms)
  local until_ms = core.until_ms(ms)
  core.check()
  while self.count == 0 do
    local left = until_ms and math.max(0, until_ms - core.now_ms())
    if not wait_in(self.receivers, left) and self.count == 0 then
      return nil, core.error("timeout", "nothing was sent in time")
    end
  end
  local value = self.items[self.first]
  self.items[self.first] = nil
  self.first = self.first + 1
  self.count = self.count - 1
  wake_one(self.senders)
  return value
end

function task.channel(capacity)
  return setmetatable({
    capacity = math.max(1, capacity or 1),
    count = 0, first = 1, last = 0,
    items = {}, senders = {}, receivers = {},
  }, Channel)
end

return task
