-- What is due, and what becomes of it. Nothing here reads a clock or a key, or does anything: all that counts
-- is given.
local mk = require "moonkeeper"

local OLDEST_MS = 366 * 24 * 3600 * 1000 -- what was due before that is not looked for

local plan = {}

-- The slots after one time up to another, oldest first.
function plan.due(schedule, after_ms, now_ms)
  local slots, at = {}, math.max(after_ms, now_ms - OLDEST_MS)
  while true do
    at = schedule:next(at)
    if not at or at > now_ms then return slots end
    slots[#slots + 1] = at
    if #slots % 1000 == 0 then mk.task.checkpoint() end
  end
end

-- A slot that is due now: "queued" or "skipped"; and true if what runs is to be killed for it.
function plan.on_time(options, is_running, queued)
  local overlap = options.overlap
  if not is_running and queued == 0 then return "queued" end
  local has_room = overlap ~= "skip" and queued < options.history
  return has_room and "queued" or "skipped", is_running and overlap == "kill"
end

-- A slot that was due long ago: one run, of the last one, makes up for all that were missed.
local function too_late(options, is_last)
  local missed = options.missed
  return (missed == "run_all" or missed == "run_once" and is_last) and "queued" or "missed"
end

-- What becomes of all that have become due: a list of { slot_ms, state }, oldest first; how many before them
-- are too many to keep a record of each; and whether what runs is to be killed. now is { ms, is_running,
-- queued = how many, is_known = function(slot_ms) }.
function plan.decide(options, slots, now)
  local decided, beyond, kills = {}, math.max(0, #slots - options.history), false
  local state
  for i = beyond + 1, #slots do
    local slot_ms = slots[i]
    if not now.is_known(slot_ms) then -- it is, if the job's key was deleted by hand
      if now.ms - slot_ms > options.window_ms then
        state = too_late(options, i == #slots)
      elseif state ~= "queued" then -- else all run in turn, from there on
        local kills_now
        state, kills_now = plan.on_time(options, now.is_running, now.queued)
        kills = kills or kills_now
      end
      decided[#decided + 1] = { slot_ms = slot_ms, state = state }
    end
  end
  return decided, beyond, kills
end

return plan
