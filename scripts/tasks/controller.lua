-- The controller, on the leader: does what the plan says, and forgets what has been over for long.
local mk = require "moonkeeper"
local plan = require "tasks.plan"
local record = require "tasks.record"
local tables = require "tasks.tables"

local AGAIN_MS = 500 -- after a command that failed

local Controller = {}
Controller.__index = Controller

-- Write what becomes of a task; true if it was written.
function Controller:change(id, changes)
  local task = self.known.book.by_id[id]
  return self.known.book:write(id, tables.with(task.value, changes), task.version, self.lead.token)
end

-- Decide on one: when to look again; nil: when something changes.
function Controller:settle(id, seen)
  local task = self.known.book.by_id[id]
  if not task or record.FINISHED[task.value.state] then return nil end
  local changes, wait_ms = plan.decide(self.settings, task, seen, self.known.away_since, mk.time.wall_ms())
  local before = task.value.node
  if changes and self:change(id, changes) then
    local after = changes.state == "assigned" and changes.node
    if before then seen.load[before] = (seen.load[before] or 1) - 1 end
    if after then seen.load[after] = (seen.load[after] or 0) + 1 end
    if changes.state == "failed" then
      mk.log.warn("tasks: a task has failed", { id = id, err = changes.error })
    end
    if changes.state == "queued" then wait_ms = 0 end
  end
  self.lead:check()
  return wait_ms
end

function Controller:rebalance(seen)
  if mk.time.now_ms() < self.next_rebalance_ms then return end
  self.next_rebalance_ms = mk.time.now_ms() + self.settings.rebalance_ms
  local id, changes = plan.move(self.settings, self.known.book.by_id, seen, mk.time.wall_ms())
  if id then self:change(id, changes) end
end

function Controller:forget_oldest()
  local tasks, finished = self.known.book.by_id, {}
  for id, task in pairs(tasks) do
    if record.FINISHED[task.value.state] then finished[#finished + 1] = id end
  end
  if #finished <= self.settings.history then return end
  -- As they came to their ends.
  table.sort(finished, function(a, b) return tasks[a].version < tasks[b].version end)
  for i = 1, #finished - self.settings.history do self.known.book:delete(finished[i], self.lead.token) end
end

-- All that there is to do now. Returns how long to wait then.
function Controller:step()
  local seen, soonest = plan.survey(self.settings, self.known), self.settings.rebalance_ms
  mk.task.checkpoint()
  for _, id in ipairs(seen.todo) do
    soonest = math.min(soonest, self:settle(id, seen) or soonest)
  end
  self:rebalance(seen)
  self:forget_oldest()
  return soonest
end

-- For as long as this node leads. known is that of tasks.lua.
local function control(lead, settings, known)
  local controller = setmetatable({ lead = lead, settings = settings, known = known,
    next_rebalance_ms = mk.time.now_ms() + settings.rebalance_ms }, Controller)
  while true do
    known.changed:clear()
    local good, wait_ms = pcall(controller.step, controller)
    if not good then
      lead:check()
      mk.log.warn("tasks: trying again", { err = tostring(wait_ms) })
    end
    known.changed:wait(good and math.max(10, wait_ms) or AGAIN_MS)
  end
end

return control
