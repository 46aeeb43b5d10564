-- Whatever happens, no task that was submitted is lost, and an exclusive one is never run twice at once. The
-- world counts the programs, not the script.
local t = require "moonkeeper.test"
local chaos = require "lib.chaos"
local tasks = require "lib.tasks"

-- Runs of "works" by the id of their task.
local function by_task(c)
  local all = {}
  for _, run in ipairs(c:programs("works")) do
    local id = run.arguments
    all[id] = all[id] or {}
    table.insert(all[id], run)
  end
  return all
end

local function check_exclusive(id, runs)
  for i, run in ipairs(runs) do
    for j = i + 1, #runs do
      if not run.ended_ms or runs[j].began_ms < run.ended_ms then
        t.fail(("the exclusive task %s began on n%d at %.3f ms, while it ran on n%d until %s"):format(id,
          runs[j].node, runs[j].began_ms, run.node, run.ended_ms or "now"))
      end
    end
  end
end

local function ran_well(runs)
  for _, run in ipairs(runs or {}) do
    if run.code == 0 then return true end
  end
  return false
end

t.describe("tasks, in chaos", function()
  t.it("are all done in the end, exclusive ones never twice at once", function(mode)
    local c <close> = tasks.cluster(mode, { slots = 4, rebalance_ms = 2000, lock_ms = 2000,
      move_after_ms = 100 })
    c:program("works", { run_ms = { 50, 8000 }, ignores_stop = math.random(3) == 1 })
    tasks.start(c)
    local submitted, number = {}, 0
    chaos.run(c, { seconds = 45, between = function()
      number = number + 1
      local exclusive = number % 3 > 0
      local value = { state = "queued", attempt = 0, argv = { "works", "{id}" }, exclusive = exclusive,
        retries = 1000, movable = number % 4 == 0 }
      local created = c:propose("kv", "create", { prefix = "tasks/task/", value = value },
        { timeout_ms = 300 })
      if created then submitted[created.key:match "[^/]*$"] = exclusive end
    end })
    c:run_until(function()
      for _, item in ipairs(tasks.all(c)) do
        if item.value.state ~= "done" then return false end
      end
      return true
    end, 120000, "all are done")
    local runs, count = by_task(c), 0
    for id, exclusive in pairs(submitted) do
      count = count + 1
      t.eq(tasks.get(c, id).state, "done")
      t.ok(ran_well(runs[id]), "its program ran to its end")
      if exclusive then check_exclusive(id, runs[id]) end
    end
    t.gt(count, 5)
  end, { modes = { "sim" }, seeds = 3, timeout_ms = 600000 })
end)
