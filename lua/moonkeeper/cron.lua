-- mk.cron: when is a cron expression due? Expressions and what happens when clocks are changed are
-- described in lua/README.md.
local core = require "moonkeeper.core"
local names = require "moonkeeper.names"

local cron = {}

-- A schedule, or nil and an error that names the field which is wrong. opts.tz: a time zone of the tz
-- database; "UTC", which all nodes agree on, where nothing else is said.
function cron.parse(spec, opts)
  names.check_options(opts, { tz = "string" }, 2)
  return core.schedule(spec, opts and opts.tz or "UTC")
end

-- The first time after after_ms (now) that spec is due, in ms since 1970.
function cron.next(spec, after_ms, opts)
  local schedule, err = cron.parse(spec, opts)
  if not schedule then return nil, err end
  return schedule:next(after_ms)
end

return cron
