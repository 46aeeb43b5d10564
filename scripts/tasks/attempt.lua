-- One attempt at a task: its handler or its program, to the end, and what becomes of the task then.
local mk = require "moonkeeper"
local kinds = require "tasks.kinds"

local RESULT_MAX, OUTPUT_MAX = 65536, 4096 -- bytes that are kept

-- Its result, or why there is none; and whether it went well.
local function call(fn, timeout_ms, id, value)
  -- Without a limit, too: when it returns, all that the handler has spawned has ended.
  local result, err = mk.task.with_timeout(timeout_ms or math.huge, fn, value.args,
    { id = id, attempt = value.attempt })
  if result ~= nil and #mk.msgpack.encode(result) > RESULT_MAX then
    result, err = nil, ("its result has more than %d bytes"):format(RESULT_MAX)
  end
  return { result = result, error = err and tostring(err) or mk.null }, not err
end

-- How it ended and its output; and whether it went well.
local function execute(template, timeout_ms, stop_ms, id, value)
  local argv = {}
  for i, text in ipairs(template) do argv[i] = text:gsub("{id}", id) end
  local r, err = mk.exec.run(argv, {
    timeout_ms = timeout_ms, stop_ms = stop_ms, max_output = OUTPUT_MAX,
    env = {
      TASK_ID = id, TASK_ATTEMPT = tostring(value.attempt),
      TASK_ARGS = value.args and mk.json.encode(value.args),
    },
  })
  if not r then return { error = tostring(err) }, false end
  return { code = r.code, signal = r.signal, output = r.stdout .. r.stderr,
    error = r.timed_out and "it took longer than timeout_ms" or mk.null }, r.code == 0 and not r.timed_out
end

local function carry_out(settings, id, value)
  local kind, timeout_ms = settings.kinds[value.kind] or {}, kinds.option(settings, value, "timeout_ms")
  if kind.fn then return call(kind.fn, timeout_ms, id, value) end
  return execute(value.argv or kind.argv, timeout_ms, settings.stop_ms, id, value)
end

local function after_failure(settings, value)
  local failures = (value.failures or 0) + 1
  if failures > (kinds.option(settings, value, "retries") or 0) then
    return { state = "failed", failures = failures }
  end
  local not_before_ms = mk.time.wall_ms() + kinds.pause_ms(settings, failures)
  return { state = "queued", failures = failures, node = mk.null, not_before_ms = not_before_ms }
end

-- Returns the changes to the task.
local function run(settings, id, value)
  local good, outcome, well = pcall(carry_out, settings, id, value)
  mk.task.checkpoint() -- raises if it was cancelled
  if not good then outcome, well = { error = tostring(outcome) }, false end
  local changes = well and { state = "done" } or after_failure(settings, value)
  for _, name in ipairs { "code", "signal", "result", "output" } do
    changes[name] = mk.null -- of attempts before
  end
  changes.ended_ms = changes.state ~= "queued" and mk.time.wall_ms() or mk.null
  for name, detail in pairs(outcome) do changes[name] = detail end
  return changes
end

return { run = run }
