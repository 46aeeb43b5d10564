-- Takes its leave slowly, n3 the slowest: its shutdown hook writes until its time is over. Works when its
-- node leads.
local mk = require "moonkeeper"

mk.on("shutdown", function()
  local end_ms = mk.time.now_ms() + (mk.info().id == "n3" and 1500 or 1000)
  while mk.time.now_ms() < end_ms do
    mk.kv.set("left", mk.info().id)
    mk.task.sleep(1)
  end
end, { timeout_ms = 20000 })

mk.while_leader("work", function(lead)
  mk.emit("leaver.works", { token = lead.token })
  while true do mk.task.sleep(100) end
end)
