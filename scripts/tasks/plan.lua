-- What is to become of tasks. Nothing is written here: all goes by what is known of tasks and nodes.
local mk = require "moonkeeper"
local kinds = require "tasks.kinds"
local record = require "tasks.record"
local tables = require "tasks.tables"

local plan = {}

-- What a step goes by: the members that are present, those able to be given something (the leader last), what
-- load each has, a movable task of each, and what is to do, oldest first. known is that of tasks.lua.
function plan.survey(settings, known)
  local tasks = known.book.by_id
  local seen = { present = {}, able = {}, load = {}, movable = {}, todo = {},
    labels = kinds.labels_of(known.offers) }
  for label in pairs(kinds.labels_of(settings.nodes)) do seen.labels[label] = true end
  for _, member in ipairs(mk.cluster.members()) do
    local node = { id = member.id, offer = known.offers[member.id], is_leader = member.is_leader }
    seen.present[node.id] = true
    if node.offer and not known.away_since[node.id] then
      table.insert(seen.able, node.is_leader and #seen.able + 1 or 1, node)
    end
  end
  for id, task in pairs(tasks) do
    if not record.FINISHED[task.value.state] then seen.todo[#seen.todo + 1] = id end
  end
  table.sort(seen.todo)
  for _, id in ipairs(seen.todo) do
    local value = tasks[id].value
    if value.node then
      seen.load[value.node] = (seen.load[value.node] or 0) + 1
      if kinds.option(settings, value, "movable") and not value.cancel and not tasks[id].flaw then
        seen.movable[value.node] = id
      end
    end
  end
  for _, node in ipairs(seen.able) do
    seen.room = seen.room or (seen.load[node.id] or 0) < node.offer.slots
  end
  return seen
end

-- May a node with this offer run it, when it has a slot?
local function fits(settings, value, offer)
  local label = kinds.option(settings, value, "label")
  return (not label or tables.has(offer.labels, label))
    and (not value.kind or tables.has(offer.kinds, value.kind))
end

-- The node that is to have this: whose slots are least taken, the leader only where no other may run it.
function plan.choose(settings, value, seen)
  local best, best_share, others
  for _, node in ipairs(seen.able) do
    if fits(settings, value, node.offer) then
      local taken, slots = seen.load[node.id] or 0, node.offer.slots
      local may = taken < slots and not (node.is_leader and others)
      if may and (not best or taken / slots < best_share) then best, best_share = node.id, taken / slots end
      others = true
    end
  end
  return best
end

-- How long until this may be tried again. It was said by the clock of another node, which may be wrong, or
-- ours: a pause is never longer than it should be from when this node heard of it.
local function pause_left_ms(settings, task)
  local value = task.value
  local pause_ms = (value.not_before_ms or 0) - task.heard_wall_ms
  pause_ms = math.min(pause_ms, kinds.pause_ms(settings, value.failures or 0))
  return task.heard_ms + pause_ms - mk.time.now_ms()
end

local function decide_queued(settings, task, seen, now_ms)
  local value = task.value
  if value.cancel then return { state = "cancelled", ended_ms = now_ms } end
  local mistake = task.flaw and "it is no task: " .. task.flaw or kinds.mistake(settings, value, seen.labels)
  if mistake then return { state = "failed", error = mistake, ended_ms = now_ms } end
  local wait_ms = pause_left_ms(settings, task)
  if wait_ms > 0 then return nil, wait_ms end
  if not seen.room then return nil end -- a step for each change, with thousands that wait
  local node = plan.choose(settings, value, seen)
  return node and { state = "assigned", node = node, attempt = value.attempt + 1, assigned_ms = now_ms,
    error = mk.null }
end

-- What is to become of a task now: changes, or nil; and when to look again.
function plan.decide(settings, task, seen, away_since, now_ms)
  local value = task.value
  if value.state == "queued" or task.flaw then return decide_queued(settings, task, seen, now_ms) end
  local wait_ms = seen.present[value.node] and away_since[value.node]
    and away_since[value.node] + settings.move_after_ms - mk.time.now_ms()
  if not seen.present[value.node] or wait_ms and wait_ms <= 0 then
    if value.cancel then return { state = "cancelled", ended_ms = now_ms } end
    return { state = "queued", node = mk.null, moves = (value.moves or 0) + 1 }
  end
  return nil, wait_ms
end

-- One task to move, from the node that has most to one that has at least two less: a move never calls for its
-- own undoing. Its id, and the changes; nil: none.
function plan.move(settings, tasks, seen, now_ms)
  for _, from in ipairs(tables.sorted_keys(seen.movable)) do
    local id = seen.movable[from]
    local value = tasks[id] and tasks[id].value
    local to = value and value.node == from and plan.choose(settings, value, seen)
    if to and (seen.load[to] or 0) + 2 <= seen.load[from] then
      return id, { state = "assigned", node = to, attempt = value.attempt + 1, assigned_ms = now_ms,
        moves = (value.moves or 0) + 1 }
    end
  end
end

return plan
