-- What `moonkeeper test` runs: loads a test file, tells the driver which tests there are, and runs the
-- one that the driver names.
local core = require "moonkeeper.core"
local cases = require "moonkeeper.test.cases"
local expect = require "moonkeeper.test.expect"

local setup = core.config()

local function load_file()
  local chunk, why = load(setup.text, "@" .. setup.path, "t")
  if not chunk then error(why, 0) end
  cases.collecting = true
  chunk()
  cases.collecting = false
  local list = core.array {}
  for i, case in ipairs(cases.list) do
    list[i] = { name = case.name, line = case.line, modes = case.modes, seeds = case.seeds,
      timeout_ms = case.timeout_ms }
  end
  return list
end

-- Run fn in a task of its own: a loop without end kills only that. Its results, or nil and the error.
local function apart(fn, ...)
  local task = core.spawn_named("test", fn, ...)
  return task:join()
end

-- The test and everything that it started: whatever a task of it raises fails the test.
local function run_case(case)
  local told
  local child = core.spawn_scope(function()
    told = cases.run(case, setup.mode, setup.seed)
    core.cancel_children("the test has ended")
    local err = core.join_children()
    if err ~= nil then error(err, 0) end
  end)
  local _, err = child:join()
  if core.failed(child) and not (told and told.outcome == "failed" and told.where) then
    told = expect.describe(err)
    told.outcome = "failed"
  end
  return told
end

local list, why = apart(load_file)
if not list then
  core.request("scenario_unloadable", expect.describe(why))
else
  local number = core.request("scenario_loaded", list)
  if number ~= nil then core.request("scenario_ended", run_case(cases.list[number])) end
end
