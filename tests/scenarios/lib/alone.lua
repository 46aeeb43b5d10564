-- Of programs of which one may run at a time, in the whole cluster: what the world has seen.
local t = require "moonkeeper.test"

local alone = {}

-- The first two runs that overlap, or nil.
function alone.overlap(runs)
  local latest -- of those before, which ends last
  for _, run in ipairs(runs) do
    if latest and run.began_ms < (latest.ended_ms or math.huge) then return latest, run end
    latest = run
  end
end

-- Fails if two runs of the program overlapped; returns all of them.
function alone.check(c, name)
  local runs = c:programs(name)
  local first, second = alone.overlap(runs)
  if first then
    t.fail(("%s (token %s) began on n%d at %.3f ms, while that of n%d (token %s) ran until %s"):format(name,
      second.token or "none", second.node, second.began_ms, first.node, first.token or "none",
      first.ended_ms and ("%.3f ms"):format(first.ended_ms) or "now"))
  end
  return runs
end

-- Waits until the program runs: on another node than this, if one is given. That run.
function alone.wait_for(c, name, other_than)
  return c:run_until(function()
    local runs = c:programs(name)
    local last = runs[#runs]
    return last and not last.ended_ms and last.node ~= other_than and last or nil
  end, 20000, name .. " runs")
end

return alone
