-- A controller and followers for distributed tasks: one of the systems that moonkeeper grew from. The leader
-- is the controller; it hands out tasks (the bundled script tasks), and all nodes know of each other.
local t = require "moonkeeper.test"
local tasks = require "lib.tasks"

-- What tells whether a task runs twice at once is the world: in simulation the list of all programs, on real
-- processes a lock of the kernel's, without which the program fails with 99.
local FILES = { "basics", "figure2", "locks", "members", "paper", "programs" }

local function submit(c, mode, i)
  local argv = { "works", "{id}" }
  if mode == "real" then
    argv = { "flock", "-n", "-E", "99", ("tests/scenarios/%s.lua"):format(FILES[i]), "sleep", "2.5" }
  end
  return tasks.submit(c, { argv = argv, exclusive = true })
end

local function never_twice_at_once(c, ids)
  for _, id in ipairs(ids) do t.ne(tasks.get(c, id).code, 99, "it ran twice at once") end
  if c.mode == "real" then return end
  local runs = c:programs("works")
  for i, run in ipairs(runs) do
    for j = i + 1, #runs do
      local apart = run.arguments ~= runs[j].arguments or run.ended_ms and run.ended_ms <= runs[j].began_ms
      t.ok(apart, "the task " .. run.arguments .. " ran twice at once")
    end
  end
end

-- All of these name the same controller, another than the one that is gone.
local function one_controller(c, nodes, gone)
  return c:run_until(function()
    local first = c:node(nodes[1]):leader()
    if first == gone then return nil end
    for _, id in ipairs(nodes) do
      if not first or c:node(id):leader() ~= first then return nil end
    end
    return first
  end, 20000, "one controller, and all know it")
end

-- All of these were told last that it is offline (or online).
local function wait_told(c, nodes, id, online)
  local function last(node, name)
    local all = c:events { name = name, node = node }
    for i = #all, 1, -1 do
      if all[i].id == "n" .. id then return all[i].time_ms end
    end
    return -1
  end
  c:run_until(function()
    for _, node in ipairs(nodes) do
      if (last(node, "node_online") > last(node, "node_offline")) ~= online then return false end
    end
    return true
  end, 20000, ("n%d is %s for all"):format(id, online and "online" or "offline"))
end

local function others(...)
  local gone, rest = {}, {}
  for _, id in ipairs { ... } do gone[id] = true end
  for id = 1, 3 do
    if not gone[id] then rest[#rest + 1] = id end
  end
  return rest
end

local function await_all(c, ids)
  for _, id in ipairs(ids) do tasks.wait(c, id, "done", 60000) end
end

t.describe("a controller and its followers", function()
  t.it("hand over tasks and office, whoever goes", function(mode)
    local c <close> = tasks.cluster(mode, { slots = 6, lock_ms = 2000, move_after_ms = 200 })
    if mode == "sim" then c:program("works", { run_ms = { 2000, 3000 } }) end
    tasks.start(c)
    local controller = one_controller(c, { 1, 2, 3 })

    -- A follower stops: its tasks move.
    local ids, follower = {}, controller.id % 3 + 1
    for i = 1, #FILES do ids[i] = submit(c, mode, i) end
    c:run_until(function() return tasks.count(c, "running") == #ids end, 10000, "all run")
    c:stop(follower)
    wait_told(c, others(follower), follower, false)
    await_all(c, ids)
    for _, id in ipairs(ids) do t.ne(tasks.get(c, id).node, "n" .. follower) end
    never_twice_at_once(c, ids)
    c:restart(follower)
    wait_told(c, { 1, 2, 3 }, follower, true)

    -- Controllers are killed: the tasks go on under the next.
    for _ = 1, 2 do
      controller = one_controller(c, { 1, 2, 3 })
      for i = 1, #FILES do ids[i] = submit(c, mode, i) end
      c:run_until(function() return tasks.count(c, "running") > 0 end, 10000, "they run")
      c:crash(controller.id)
      local rest = others(controller.id)
      one_controller(c, rest, controller)
      wait_told(c, rest, controller.id, false)
      await_all(c, ids)
      never_twice_at_once(c, ids)
      c:restart(controller.id)
      wait_told(c, { 1, 2, 3 }, controller.id, true)
      t.ne(one_controller(c, { 1, 2, 3 }), controller, "it is a follower now")
    end

    -- The last of three: no controller, and nothing that needs one.
    controller = one_controller(c, { 1, 2, 3 })
    local last = controller.id % 3 + 1
    for _, id in ipairs(others(last)) do c:crash(id) end
    c:run_for(3000)
    t.eq(c:leader(), nil)
    local task = { argv = { "works" }, state = "queued", attempt = 0 }
    t.err("not_leader", c:node(last):propose("kv", "create", { prefix = "tasks/task/", value = task },
      { timeout_ms = 500 }))
    for _, id in ipairs(others(last)) do c:restart(id) end
    one_controller(c, { 1, 2, 3 })
    ids = { submit(c, mode, 1) }
    await_all(c, ids)
  end, { seeds = 3, modes = { "sim", "real" }, timeout_ms = 300000 })
end)
