-- mk.timer: a timer is a task of the scope it is made in (the application, a while_leader, a
-- task.scope), so it outlives the function that makes it, not the scope.
local core = require "moonkeeper.core"

local timer = {}

local Timer = {}
Timer.__index = Timer
Timer.__name = "timer"

function Timer:cancel() self.task:cancel("the timer was cancelled") end

-- Each call is a task of its own, so that an error or a kill ends the call and not the timer.
local function call(fn)
  core.wait_task(core.spawn_named("timer", fn))
end

-- Call fn every ms. Calls never overlap: what a long one has missed is left out.
function timer.every(ms, fn)
  if type(ms) ~= "number" or ms <= 0 then
    error("every(ms, fn): ms is a number above 0, not " .. tostring(ms), 2)
  end
  if type(fn) ~= "function" then error("every(ms, fn): fn must be a function", 2) end
  return setmetatable({
    task = core.spawn_in_scope(function()
      local at = core.now_ms()
      while true do
        local now = core.now_ms()
        at = at + ms
        if at <= now then at = at + ((now - at) // ms + 1) * ms end
        core.sleep_until(at)
        call(fn)
      end
    end),
  }, Timer)
end

-- Call fn once, after ms.
function timer.after(ms, fn)
  if type(ms) ~= "number" or ms < 0 then
    error("after(ms, fn): ms is a number, 0 or more, not " .. tostring(ms), 2)
  end
  if type(fn) ~= "function" then error("after(ms, fn): fn must be a function", 2) end
  return setmetatable({
    task = core.spawn_in_scope(function()
      core.sleep(ms)
      call(fn)
    end),
  }, Timer)
end

return timer
