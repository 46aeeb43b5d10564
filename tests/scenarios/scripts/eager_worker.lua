-- How not to do it: a program that is started and stopped as elections are heard of. A leader that is cut
-- off, or stopped, hears of none. The test of the tests in chaos/.
local mk = require "moonkeeper"

local elected, over = mk.task.event(), mk.task.event()

mk.on("leader_elected", function(ev)
  if not ev.is_self then return over:set() end
  over:clear()
  elected:set()
end)

mk.on("leader_lost", function() over:set() end)

while true do
  elected:wait()
  elected:clear()
  local process = assert(mk.exec.spawn({ "worker" }, {}))
  over:wait()
  process:kill()
end
