-- One program, from its start to its end. It is begun after the log says that it runs here, and ends with the
-- leadership.
local mk = require "moonkeeper"

local Run = {}
Run.__index = Run

local function filled(argv, values)
  local out = {}
  for i, text in ipairs(argv) do out[i] = text:gsub("{(%l+)}", values) end
  return out
end

-- What becomes of the record: a state, and the details.
function Run:execute()
  local o, env = self.options, {}
  local values = { job = o.name, slot = self.slot, attempt = tostring(self.attempt) }
  for name, value in pairs(o.env or {}) do env[name] = value end
  env.CRON_JOB, env.CRON_SLOT, env.CRON_ATTEMPT = values.job, values.slot, values.attempt
  local process = assert(mk.exec.spawn(filled(o.argv, values),
    { env = env, cwd = o.cwd, stop_ms = self.stop_ms }))
  self.process = process
  local status = not self.is_killed and process:wait(o.timeout_ms)
  local state = self.is_killed and "killed" or not status and "timeout"
  status = status or process:stop() or {}
  return state or status.code == 0 and "ok" or "failed", { code = status.code, signal = status.signal }
end

function Run:kill()
  self.is_killed = true
  if self.process and not self.state then self.lead:spawn(self.process.stop, self.process) end
end

-- Begin one that has lead, key (of the record), options (of the job), slot, attempt and stop_ms. Once it is
-- over, it has a state and how (details), and the event ended is set. Whatever goes wrong, it ends.
local function start(what, ended)
  local run = setmetatable(what, Run)
  run.lead:spawn(function()
    local good, state, how = pcall(run.execute, run)
    if not good then state, how = "failed", { err = tostring(state) } end
    run.state, run.how = state, how
    ended:set()
  end)
  return run
end

return { start = start }
