-- tasks: work for whichever node has room for it. Settings, keys and promises are in scripts/README.md.
--
-- A task is one key, tasks/task/ID, which holds all there is to know about it:
--
--   queued -> assigned -> running -> done, failed, cancelled     (or queued again: moved, retried)
--
-- The controller, on the leader, assigns; the runner, on every node, runs what is assigned to its node. An
-- attempt has a number and one node: a runner writes only for an attempt that is still the present one.
local mk = require "moonkeeper"

local AGAIN_MS = 500 -- after a command that failed
local RESULT_MAX, OUTPUT_MAX = 65536, 4096 -- bytes that are kept
local FINISHED = { done = true, failed = true, cancelled = true }
local me = mk.info().id

-- Settings ------------------------------------------------------------------------------------------------

local how = { -- of a task, or of all of a kind
  label = { type = "string" },
  exclusive = { type = "boolean", default = false },
  movable = { type = "boolean", default = false },
  retries = { type = "integer", min = 0, default = 0 },
  timeout_ms = { type = "integer", min = 1 },
}

local kind_rule = {
  argv = { type = "table", min = 1, items = { type = "string" } },
  handler = { type = "string" },
}
for name, rule in pairs(how) do kind_rule[name] = rule end

local settings = mk.config.declare {
  prefix = { type = "string", min = 1, default = "tasks" },
  slots = { type = "integer", min = 1, default = 4 },
  nodes = { type = "table", default = {}, values = { type = "table", fields = {
    slots = { type = "integer", min = 0 },
    labels = { type = "table", default = {}, items = { type = "string" } },
  } } },
  kinds = { type = "table", default = {}, values = { type = "table", fields = kind_rule } },
  handlers_dir = { type = "string" },
  retry_ms = { type = "integer", min = 0, default = 1000 },
  move_after_ms = { type = "integer", min = 0, default = 2000 },
  rebalance_ms = { type = "integer", min = 100, default = 30000 },
  lock_ms = { type = "integer", min = 500, default = 5000 },
  stop_ms = { type = "integer", min = 0, default = 5000 },
  history = { type = "integer", min = 0, max = 10000, default = 1000 },
}

local task_prefix, node_prefix = settings.prefix .. "/task/", settings.prefix .. "/node/"

local function sorted(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function labels_of(nodes)
  local labels = {}
  for _, node in pairs(nodes) do
    for _, label in ipairs(node.labels or {}) do labels[label] = true end
  end
  return labels
end

-- Why no node will ever run something with this label; nil if one may.
local function label_complaint(label, labels)
  if not label or labels[label] then return nil end
  local known = sorted(labels)
  return ("no node has the label '%s'; %s"):format(label,
    #known > 0 and "there are " .. table.concat(known, ", ") or "no node has any")
end

-- A handler is a function of a module in handlers_dir: "thumbnails.make".
local function find_handler(text)
  local module, name = text:match "^(.+)%.([%a_][%w_]*)$"
  local found, loaded = pcall(require, module or text)
  local fn = found and type(loaded) == "table" and loaded[name]
  if fn then return fn end
  return nil, ("there is no function %s: %s"):format(text, found and "not in its module" or tostring(loaded))
end

local function check_kinds()
  if settings.handlers_dir then package.path = settings.handlers_dir .. "/?.lua;" .. package.path end
  local labels = labels_of(settings.nodes)
  for _, name in ipairs(sorted(settings.kinds)) do
    local kind, path = settings.kinds[name], "config: kinds." .. name
    if (kind.argv == nil) == (kind.handler == nil) then
      error(path .. " must have either argv or handler", 0)
    end
    local complaint = label_complaint(kind.label, labels)
    if complaint then error(path .. ".label: " .. complaint, 0) end
    if kind.handler then
      kind.fn, complaint = find_handler(kind.handler)
      if complaint then error(path .. ".handler: " .. complaint, 0) end
    end
  end
end
check_kinds()

-- What is known -------------------------------------------------------------------------------------------

local tasks = {}    -- by id: { key, value, version }, as the log has them
local announced = {} -- by node: { slots, labels, kinds }
local away_since = {} -- by node: when it was told to be offline
local changed = mk.task.event()

local function option(value, name)
  local kind = settings.kinds[value.kind]
  if value[name] ~= nil then return value[name] end
  return kind and kind[name]
end

local function is_list_of_texts(value)
  if type(value) ~= "table" then return false end
  for _, text in ipairs(value) do
    if type(text) ~= "string" then return false end
  end
  return true
end

local fields = { -- what is relied on; anybody may have written it
  state = "string", node = "string", kind = "string", label = "string", attempt = "integer",
  failures = "integer", moves = "integer", retries = "integer", timeout_ms = "integer",
  not_before_ms = "integer", ended_ms = "integer",
  exclusive = "boolean", movable = "boolean", cancel = "boolean",
}

-- Why this is no task; nil: it is one.
local function flaw_of(value)
  if type(value) ~= "table" then return "it is no table" end
  for name, kind in pairs(fields) do
    local field = value[name]
    if field ~= nil and (math.type(field) or type(field)) ~= kind then
      return name .. " must be of type " .. kind
    end
  end
  if value.argv ~= nil and not (is_list_of_texts(value.argv) and value.argv[1]) then
    return "argv must be a list of texts"
  end
end

local function is_offer(value)
  return type(value) == "table" and math.type(value.slots) == "integer" and is_list_of_texts(value.labels)
    and is_list_of_texts(value.kinds)
end

local function as_table(value)
  if type(value) ~= "table" then value = {} end
  value.attempt = value.attempt or 0
  return value
end

-- What the log has now, as a watch tells or a write of ours brought about: whichever is newer.
local function learn(id, value, version)
  local task = tasks[id]
  if not task or task.version < version then
    tasks[id] = { key = task_prefix .. id, value = as_table(value), version = version, flaw = flaw_of(value) }
  end
end

-- The task as the log has it: value, version; nil, and why not unless it is gone.
local function fetch(id)
  local value, version = mk.kv.get(task_prefix .. id)
  if value == nil then return nil, version end
  learn(id, value, version)
  return as_table(value), version
end

-- Write what a task is to be, if nobody else has written meanwhile.
local function write(id, value, version, fence)
  local done, err = mk.kv.set(task_prefix .. id, value, { if_version = version, fence = fence })
  if done then learn(id, value, done.version) end
  return done, err
end

local function copy(value, changes)
  local new = {}
  for name, old in pairs(value) do new[name] = old end
  for name, to in pairs(changes) do new[name] = to ~= mk.null and to or nil end
  return new
end

-- The runner ----------------------------------------------------------------------------------------------

local running = {} -- by id: { attempt, job } of the attempt that is under way
local stopping = false

local function is_mine(value, attempt)
  return value and value.node == me and value.attempt == attempt
    and (value.state == "assigned" or value.state == "running")
end

-- Change a task that this node has, in this attempt: the new value; nil if it has it no more.
local function update(id, attempt, changes)
  while true do
    local value, version = fetch(id)
    local err = not value and version
    local written = value and value.attempt == attempt and value.state == changes.state -- before
    if written then return value end
    if not err and not is_mine(value, attempt) then return nil end
    if value then
      local new = copy(value, changes)
      local done, why = write(id, new, version)
      if done then return new end
      err = why
    end
    if err.code ~= "conflict" then mk.task.sleep(AGAIN_MS) end
  end
end

-- How an attempt went: { code or signal, output } or { result }, and whether it went well.
local function carry_out(id, value)
  local kind, timeout_ms = settings.kinds[value.kind] or {}, option(value, "timeout_ms")
  if kind.fn then
    local function call() return kind.fn(value.args, { id = id, attempt = value.attempt }) end
    local result, err
    if timeout_ms then result, err = mk.task.with_timeout(timeout_ms, call) else result, err = call() end
    if result ~= nil and #mk.msgpack.encode(result) > RESULT_MAX then
      result, err = nil, ("its result has more than %d bytes"):format(RESULT_MAX)
    end
    return { result = result, error = err and tostring(err) or mk.null }, not err
  end
  local argv = {}
  for i, text in ipairs(value.argv or kind.argv) do argv[i] = text:gsub("{id}", id) end
  local r, err = mk.exec.run(argv, {
    timeout_ms = timeout_ms, stop_ms = settings.stop_ms, max_output = OUTPUT_MAX,
    env = {
      TASK_ID = id, TASK_ATTEMPT = tostring(value.attempt),
      TASK_ARGS = value.args and mk.json.encode(value.args),
    },
  })
  if not r then return { error = tostring(err) }, false end
  return { code = r.code, signal = r.signal, output = r.stdout .. r.stderr,
    error = r.timed_out and "it took longer than timeout_ms" or mk.null }, r.code == 0 and not r.timed_out
end

-- What becomes of a task whose attempt has failed.
local function after_failure(value)
  local failures = (value.failures or 0) + 1
  if failures > (option(value, "retries") or 0) then return { state = "failed", failures = failures } end
  local pause_ms = settings.retry_ms << math.min(failures - 1, 10)
  local not_before_ms = mk.time.wall_ms() + pause_ms
  return { state = "queued", failures = failures, node = mk.null, not_before_ms = not_before_ms }
end

local function attempt_once(id, attempt)
  local value = update(id, attempt, { state = "running", began_ms = mk.time.wall_ms() })
  if not value or value.cancel then return end
  local good, outcome, well = pcall(carry_out, id, value)
  mk.task.checkpoint() -- raises if it was cancelled
  if not good then outcome, well = { error = tostring(outcome) }, false end
  local changes = well and { state = "done" } or after_failure(value)
  changes.ended_ms = changes.state ~= "queued" and mk.time.wall_ms() or mk.null
  for name, detail in pairs(outcome) do changes[name] = detail end
  update(id, attempt, changes)
end

local function run(id, attempt, exclusive)
  if not exclusive then return attempt_once(id, attempt) end
  local lock = settings.prefix .. "/" .. id
  local _, err = mk.lock.with(lock, { ttl_ms = settings.lock_ms }, function() attempt_once(id, attempt) end)
  if err then update(id, attempt, { state = "queued", node = mk.null }) end
end

-- What is to be done on this node now; nil: nothing.
local function present_work(id)
  local task = tasks[id]
  if stopping or not task or task.flaw then return nil end
  return is_mine(task.value, task.value.attempt) and task.value or nil
end

-- The attempts on this node, one after the other, for as long as there are some.
local function attend(id)
  local value = present_work(id)
  while value do
    local at_work = { attempt = value.attempt }
    running[id] = at_work
    at_work.job = mk.task.spawn(function()
      if value.cancel then return end
      if value.state == "assigned" then return run(id, value.attempt, option(value, "exclusive")) end
      update(id, value.attempt, { state = "queued", node = mk.null }) -- it ran in a process that is no more
    end)
    pcall(at_work.job.join, at_work.job)
    local now = fetch(id)
    if now and now.cancel then
      update(id, value.attempt, { state = "cancelled", ended_ms = mk.time.wall_ms() })
    end
    value = present_work(id)
  end
  running[id] = nil
end

-- A task was heard of, or has changed.
local function look_after(id)
  local value, at_work = tasks[id].value, running[id]
  if not at_work and present_work(id) then
    running[id] = {}
    mk.task.spawn(attend, id)
  elseif at_work and at_work.job and (value.cancel or not is_mine(value, at_work.attempt)) then
    at_work.job:cancel("the task was cancelled, or moved to another node")
  end
end

-- The controller ------------------------------------------------------------------------------------------

local function has(list, name)
  if not name then return true end
  for _, own in ipairs(list) do
    if own == name then return true end
  end
  return false
end

-- What a step goes by: the members, those that may be given something (the leader last), what each has, a
-- task that may be moved from it, and what is not over, oldest first.
local function survey()
  local seen = { present = {}, able = {}, labels = labels_of(announced), load = {}, movable = {}, todo = {} }
  for label in pairs(labels_of(settings.nodes)) do seen.labels[label] = true end
  for _, member in ipairs(mk.cluster.members()) do
    local node = { id = member.id, offer = announced[member.id], is_leader = member.is_leader }
    seen.present[node.id] = true
    if node.offer and not away_since[node.id] then
      table.insert(seen.able, node.is_leader and #seen.able + 1 or 1, node)
    end
  end
  for id, task in pairs(tasks) do
    if not FINISHED[task.value.state] then seen.todo[#seen.todo + 1] = id end
  end
  table.sort(seen.todo)
  for _, id in ipairs(seen.todo) do
    local value = tasks[id].value
    if value.node then
      seen.load[value.node] = (seen.load[value.node] or 0) + 1
      if option(value, "movable") and not value.cancel and not tasks[id].flaw then
        seen.movable[value.node] = id
      end
    end
  end
  for _, node in ipairs(seen.able) do
    seen.room = seen.room or (seen.load[node.id] or 0) < node.offer.slots
  end
  return seen
end

-- The node that is to have this: whose slots are least taken, the leader only where no other may run it.
local function choose(value, seen)
  local best, best_share, others
  for _, node in ipairs(seen.able) do
    if has(node.offer.labels, option(value, "label")) and has(node.offer.kinds, value.kind) then
      local taken, slots = seen.load[node.id] or 0, node.offer.slots
      local may = taken < slots and not (node.is_leader and others)
      if may and (not best or taken / slots < best_share) then best, best_share = node.id, taken / slots end
      others = true
    end
  end
  return best
end

-- What is wrong with a task; nil: nothing.
local function complaint(task, labels)
  local value = task.value
  if task.flaw then return "it is no task: " .. task.flaw end
  if value.kind and not settings.kinds[value.kind] then
    local kinds = sorted(settings.kinds)
    return ("there is no kind '%s'; there %s"):format(value.kind,
      #kinds > 0 and "are " .. table.concat(kinds, ", ") or "is none in the settings")
  end
  if not value.kind and not value.argv then return "it has neither a kind nor argv" end
  return label_complaint(option(value, "label"), labels)
end

-- What is to become of a task now: changes, or nil; and when to look again.
local function decide(task, seen, now_ms)
  local value = task.value
  if value.state == "queued" or task.flaw then
    local mistake = complaint(task, seen.labels)
    if value.cancel then return { state = "cancelled", ended_ms = now_ms } end
    if mistake then return { state = "failed", error = mistake, ended_ms = now_ms } end
    local wait_ms = (value.not_before_ms or 0) - now_ms
    if wait_ms > 0 then return nil, wait_ms end
    if not seen.room then return nil end -- a step for each change, with thousands that wait
    local node = choose(value, seen)
    return node and { state = "assigned", node = node, attempt = value.attempt + 1, assigned_ms = now_ms,
      error = mk.null }
  end
  local wait_ms = seen.present[value.node] and away_since[value.node]
    and away_since[value.node] + settings.move_after_ms - mk.time.now_ms()
  if not seen.present[value.node] or wait_ms and wait_ms <= 0 then
    if value.cancel then return { state = "cancelled", ended_ms = now_ms } end
    return { state = "queued", node = mk.null, moves = (value.moves or 0) + 1 }
  end
  return nil, wait_ms
end

-- Move one task from the node that has most to one that has at least two less: a move never calls for its
-- own undoing.
local function rebalance(lead, seen)
  for _, from in ipairs(sorted(seen.movable)) do
    local id = seen.movable[from]
    local task = tasks[id]
    local to = task and task.value.node == from and choose(task.value, seen)
    if to and (seen.load[to] or 0) + 2 <= seen.load[from] then
      local value = task.value
      return write(id, copy(value, { state = "assigned", node = to, attempt = value.attempt + 1,
        assigned_ms = mk.time.wall_ms(), moves = (value.moves or 0) + 1 }), task.version, lead.token)
    end
  end
end

local function forget_oldest(lead)
  local finished = {}
  for id, task in pairs(tasks) do
    if FINISHED[task.value.state] then finished[#finished + 1] = id end
  end
  if #finished <= settings.history then return end
  -- As they came to their ends.
  table.sort(finished, function(a, b) return tasks[a].version < tasks[b].version end)
  for i = 1, #finished - settings.history do
    local task = tasks[finished[i]]
    assert(mk.kv.delete(task.key, { if_version = task.version, fence = lead.token }))
    tasks[finished[i]] = nil
  end
end

-- All that there is to do now. Returns how long to wait then.
local function step(lead, next_rebalance_ms)
  local seen, soonest = survey(), settings.rebalance_ms
  mk.task.checkpoint()
  for _, id in ipairs(seen.todo) do
    local task = tasks[id]
    if task and not FINISHED[task.value.state] then
      local changes, wait_ms = decide(task, seen, mk.time.wall_ms())
      soonest = math.min(soonest, wait_ms or soonest)
      local before = task.value.node
      if changes and write(id, copy(task.value, changes), task.version, lead.token) then
        local after = changes.state == "assigned" and changes.node
        if before then seen.load[before] = (seen.load[before] or 1) - 1 end
        if after then seen.load[after] = (seen.load[after] or 0) + 1 end
        if changes.state == "failed" then
          mk.log.warn("tasks: a task has failed", { id = id, err = changes.error })
        end
        if changes.state == "queued" then soonest = 0 end
      end
      lead:check()
    end
  end
  if mk.time.now_ms() >= next_rebalance_ms then
    next_rebalance_ms = mk.time.now_ms() + settings.rebalance_ms
    rebalance(lead, seen)
  end
  forget_oldest(lead)
  return soonest, next_rebalance_ms
end

mk.while_leader("tasks", function(lead)
  mk.raft.barrier()
  local next_rebalance_ms = mk.time.now_ms() + settings.rebalance_ms
  lead:on("member_removed", function(ev)
    mk.kv.delete(node_prefix .. ev.id, { fence = lead.token })
  end)
  while true do
    changed:clear()
    local good, wait_ms, next_ms = pcall(step, lead, next_rebalance_ms)
    if not good then
      lead:check()
      mk.log.warn("tasks: trying again", { err = tostring(wait_ms) })
    end
    next_rebalance_ms = good and next_ms or next_rebalance_ms
    changed:wait(good and math.max(10, wait_ms) or AGAIN_MS)
  end
end)

-- Every node ----------------------------------------------------------------------------------------------

mk.on("node_offline", function(ev)
  away_since[ev.id] = mk.time.now_ms()
  changed:set()
end, { replay = true })

mk.on("node_online", function(ev)
  away_since[ev.id] = nil
  changed:set()
end, { replay = true })

-- A planned stop: what runs here is stopped, and somebody else's from now on.
mk.on("shutdown", function()
  stopping = true
  if announced[me] then
    mk.kv.set(node_prefix .. me, copy(announced[me], { slots = 0 }), { timeout_ms = 1000 })
  end
  mk.task.map(sorted(running), 16, function(id)
    local at_work = running[id]
    if not at_work.job then return end
    at_work.job:cancel("the node stops")
    pcall(at_work.job.join, at_work.job)
    update(id, at_work.attempt, { state = "queued", node = mk.null })
  end)
end, { timeout_ms = settings.stop_ms + 2000 })

-- Say what this node has to offer.
local function announce()
  local own = settings.nodes[me] or {}
  local offer = {
    slots = own.slots or settings.slots,
    labels = mk.array(own.labels or {}),
    kinds = mk.array(sorted(settings.kinds)),
  }
  local there = announced[me]
  if there and mk.json.encode(there) == mk.json.encode(offer) then return end
  while not mk.kv.set(node_prefix .. me, offer) do mk.task.sleep(AGAIN_MS) end
end

local function take(ev)
  local prefix, id = ev.key:match "^(.*/)([^/]*)$"
  if prefix == node_prefix then
    announced[id] = ev.type == "set" and is_offer(ev.value) and ev.value or nil
  elseif prefix ~= task_prefix then
    return
  elseif ev.type == "set" then
    learn(id, ev.value, ev.version)
  elseif tasks[id] and tasks[id].version < ev.index then
    tasks[id] = nil
  end
  if tasks[id] then look_after(id) end
  changed:set()
end

mk.task.spawn(function()
  for ev in mk.kv.watch(settings.prefix .. "/", { initial = true }) do
    if ev.type == "synced" then
      mk.task.spawn(announce)
    elseif ev.type == "gap" then
      tasks, announced = {}, {}
    else
      take(ev)
    end
  end
end)
