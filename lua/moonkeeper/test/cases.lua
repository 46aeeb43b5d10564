-- The tests of a file: collected while it is loaded, one of them then run.
local expect = require "moonkeeper.test.expect"

local MODES = { "sim", "real" }
local TIMEOUT_MS = 60000

local cases = { list = {} }

local groups = {}  -- names of the describe blocks around
local required = {} -- by depth of groups: the mode that t.requires named there
local running      -- the mode of the test that runs

-- The mode of the test that runs, or nil.
function cases.mode() return running end

-- A test that cannot run here. Raised by t.requires, caught by cases.run.
local Skip = { __name = "skipped test", __tostring = function(skip) return skip.message end }

local function checked_modes(modes)
  for _, mode in ipairs(modes) do
    if mode ~= "sim" and mode ~= "real" then
      error(("t.it: a mode is \"sim\" or \"real\", not %s"):format(tostring(mode)), 3)
    end
  end
  return modes
end

local function check_options(opts)
  for key, value in pairs(opts) do
    if key ~= "modes" and key ~= "seeds" and key ~= "timeout_ms" then
      error(("t.it: unknown option %s; there are modes, seeds and timeout_ms"):format(tostring(key)), 3)
    elseif key ~= "modes" and (math.type(value) ~= "integer" or value < 1) then
      error(("t.it: %s is a whole number from 1 on"):format(key), 3)
    end
  end
end

-- A group of tests; may be nested.
function cases.describe(name, fn)
  if type(name) ~= "string" or type(fn) ~= "function" then
    error("t.describe(name, fn): a name and a function", 2)
  end
  groups[#groups + 1] = name
  fn()
  required[#groups] = nil
  groups[#groups] = nil
end

function cases.it(name, fn, opts)
  if type(name) ~= "string" or type(fn) ~= "function" then
    error("t.it(name, fn, opts): a name and a function", 2)
  elseif running then
    error("t.it: not inside of another test", 2)
  elseif not cases.collecting then
    error("tests are run by `moonkeeper test FILE`", 2)
  end
  opts = opts or {}
  check_options(opts)
  local modes = checked_modes(opts.modes or MODES)
  for depth = 0, #groups do
    if required[depth] then modes = { required[depth] } end
  end
  groups[#groups + 1] = name
  cases.list[#cases.list + 1] = {
    name = table.concat(groups, " > "),
    line = tonumber((expect.place() or ""):match ":(%d+)$"),
    modes = modes,
    seeds = opts.seeds or 1,
    timeout_ms = opts.timeout_ms or TIMEOUT_MS,
    fn = fn,
  }
  groups[#groups] = nil
end

-- In a test: skip it unless it runs in this mode. Outside: all that follow in this group, or file.
function cases.requires(mode)
  checked_modes { mode }
  if not running then
    required[#groups] = mode
  elseif running ~= mode then
    error(setmetatable({ message = "needs mode \"" .. mode .. "\"" }, Skip), 0)
  end
end

-- What `run` in main.lua tells the driver: how the test ended.
function cases.run(case, mode, seed)
  running = mode
  math.randomseed(seed)
  local trace
  local ok, err = xpcall(case.fn, function(raised)
    trace = debug.traceback("", 2)
    return raised
  end, mode)
  if ok then return { outcome = "passed" } end
  if getmetatable(err) == Skip then return { outcome = "skipped", message = err.message } end
  local told = expect.describe(err, trace)
  told.outcome = "failed"
  return told
end

return cases
