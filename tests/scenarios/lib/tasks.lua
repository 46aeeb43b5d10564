-- For tests of the bundled script tasks: clusters that run it, and what a client does.
local t = require "moonkeeper.test"

local tasks = {}

-- Programs are there: works, fails, slow, hangs, stubborn.
function tasks.cluster(mode, config, o)
  config, o = config or {}, o or {}
  config.kinds = {
    sum = { handler = "tasks_handlers.sum" },
    repeated = { handler = "tasks_handlers.repeated" },
    greet = { argv = { "greets" } },
    stubborn = { handler = "tasks_handlers.stubborn", timeout_ms = 500, retries = 1 },
    hasty = { handler = "tasks_handlers.hasty", retries = 1 },
    flaky = { argv = { "fails" }, retries = 2 },
  }
  config.handlers_dir = "tests/scenarios/scripts"
  config.retry_ms = 100
  o.mode, o.config, o.scripts = mode, config, { "bundled:tasks" }
  local c = t.cluster(o)
  if mode == "real" then return c end
  c:program("works", { run_ms = { 500, 600 } })
  c:program("greets", { run_ms = 10, stdout = "hello\n" })
  c:program("fails", { run_ms = 10, code = 3, stderr = "oh\n" })
  c:program("slow", { run_ms = 3000, stop_ms = 100 })
  c:program("hangs", { stop_ms = 100 })
  c:program("stubborn", { ignores_stop = true })
  return c
end

-- Started, with a leader, and every node has said what it has to offer. The leader.
function tasks.start(c)
  c:start()
  local leader = c:wait_leader()
  c:run_until(function()
    return #t.ok(c:query("kv", "list", { prefix = "tasks/node/" })).items == c.n
  end, 5000, "every node offers its slots")
  return leader
end

-- Its id.
function tasks.submit(c, value)
  value.state, value.attempt = "queued", 0
  local created = t.ok(c:propose("kv", "create", { prefix = "tasks/task/", value = value }))
  return created.key:match "[^/]*$"
end

function tasks.get(c, id)
  local found = t.ok(c:query("kv", "get", { key = "tasks/task/" .. id }))
  return found.value, found.version
end

function tasks.wait(c, id, state, ms)
  local value
  local function is_there()
    value = tasks.get(c, id)
    return value.state == state
  end
  if not pcall(c.run_until, c, is_there, ms or 10000) then
    t.fail(("task %s is not %s, but %s on %s after %s attempts: %s, code %s, signal %s, %s"):format(id, state,
      value.state, value.node, value.attempt, value.error, value.code, value.signal, value.output))
  end
  return value
end

function tasks.cancel(c, id)
  local value, version = tasks.get(c, id)
  value.cancel = true
  t.ok(c:propose("kv", "set", { key = "tasks/task/" .. id, value = value, if_version = version }))
end

function tasks.all(c)
  return t.ok(c:query("kv", "list", { prefix = "tasks/task/", limit = 1000 })).items
end

function tasks.count(c, state)
  local count = 0
  for _, item in ipairs(tasks.all(c)) do
    count = count + ((not state or item.value.state == state) and 1 or 0)
  end
  return count
end

-- Runs of a program that have not ended.
function tasks.running(c, name)
  local list = {}
  for _, run in ipairs(c:programs(name)) do
    if not run.ended_ms then list[#list + 1] = run end
  end
  return list
end

return tasks
