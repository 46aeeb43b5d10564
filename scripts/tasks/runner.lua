-- The runner, on every node: runs what is assigned to its node. It writes only for an attempt that is still
-- the present one.
local mk = require "moonkeeper"
local attempt = require "tasks.attempt"
local kinds = require "tasks.kinds"
local tables = require "tasks.tables"

local AGAIN_MS = 500 -- after a command that failed
local me = mk.info().id

local Runner = {}
Runner.__index = Runner

local runner = {}

-- Of the tasks in a book.
function runner.new(settings, book)
  return setmetatable({
    settings = settings, book = book,
    running = {}, -- by id: { number, job, over } of the attempt that is under way
    stopping = false,
  }, Runner)
end

local function is_mine(value, number)
  return value and value.node == me and value.attempt == number
    and (value.state == "assigned" or value.state == "running")
end

-- Change a task that this node has, in this attempt: the new value; nil if it has it no more, or stops.
function Runner:update(id, number, changes)
  while true do
    local value, version = self.book:fetch(id)
    local err = not value and version
    local written = value and value.attempt == number and value.state == changes.state -- before
    if written then return value end
    if not err and not is_mine(value, number) then return nil end
    if value then
      local new, why = self.book:write(id, tables.with(value, changes), version)
      if new then return new end
      err = why
    end
    if err.code == "shutdown" then return nil end
    if err.code ~= "conflict" then mk.task.sleep(AGAIN_MS) end
  end
end

function Runner:give_back(id, number) self:update(id, number, { state = "queued", node = mk.null }) end

function Runner:run_once(id, number)
  local value = self:update(id, number, { state = "running", began_ms = mk.time.wall_ms() })
  if not value or value.state ~= "running" or value.cancel then return end
  self:update(id, number, attempt.run(self.settings, id, value))
end

function Runner:run(id, number, exclusive)
  if not exclusive then return self:run_once(id, number) end
  local lock = self.settings.prefix .. "/" .. id
  local _, err = mk.lock.with(lock, { ttl_ms = self.settings.lock_ms }, function()
    self:run_once(id, number)
  end)
  if err then self:give_back(id, number) end
end

-- What is to be done on this node now; nil: nothing.
function Runner:present_work(id)
  local task = self.book.by_id[id]
  if self.stopping or not task or task.flaw then return nil end
  return is_mine(task.value, task.value.attempt) and task.value or nil
end

-- The attempts on this node, one after the other, for as long as there are some.
function Runner:attend(id)
  local value = self:present_work(id)
  while value do
    local at_work = { number = value.attempt, over = mk.task.event() }
    self.running[id] = at_work
    -- It is over when all that it has begun has ended, and its lock is given back.
    pcall(mk.task.scope, function()
      at_work.job = mk.task.spawn(function()
        if value.cancel or at_work.cancelled or self.stopping then return end
        if value.state == "assigned" then
          return self:run(id, value.attempt, kinds.option(self.settings, value, "exclusive"))
        end
        self:give_back(id, value.attempt) -- it ran in a process that is no more
      end)
    end)
    at_work.over:set()
    local now = self.book:fetch(id)
    if now and now.cancel then
      self:update(id, value.attempt, { state = "cancelled", ended_ms = mk.time.wall_ms() })
    end
    value = self:present_work(id)
  end
  self.running[id] = nil
end

-- A task was heard of, or has changed.
function Runner:look_after(id)
  local value, at_work = self.book.by_id[id].value, self.running[id]
  if not at_work and self:present_work(id) then
    self.running[id] = {}
    mk.task.spawn(self.attend, self, id)
  elseif at_work and at_work.number and (value.cancel or not is_mine(value, at_work.number)) then
    at_work.cancelled = true
    if at_work.job then at_work.job:cancel("the task was cancelled, or moved to another node") end
  end
end

-- The node stops: no more is begun.
function Runner:close() self.stopping = true end

-- What runs is stopped, and somebody else's from now on.
function Runner:give_all_back()
  mk.task.map(tables.sorted_keys(self.running), 16, function(id)
    local at_work = self.running[id]
    if not at_work.number then return end
    if at_work.job then at_work.job:cancel("the node stops") end
    at_work.over:wait()
    self:give_back(id, at_work.number)
  end)
end

return runner
