-- Keeps the name of the node on duty in kv: the leader's, and how many hours it has been.
local mk = require "moonkeeper"
mk.while_leader("duty", function(lead)
  mk.kv.set("duty", mk.info().id)
  local hours = 0
  lead:every(3600 * 1000, function()
    hours = hours + 1
    mk.kv.set("hours", hours)
  end)
  while true do mk.task.sleep(mk.config.get("pause_ms", 60000)) end
end)
