-- A process on the leader and nowhere else, as lua/README.md has it.
local mk = require "moonkeeper"

mk.while_leader("worker", function(lead)
  while true do
    local p = assert(mk.exec.spawn({ "worker", tostring(lead.token) }, { stop_ms = 1000 }))
    local ended = p:wait()
    mk.log.info("worker ended", { code = ended.code, signal = ended.signal })
    mk.task.sleep(50)
  end
end, { grace_ms = 1500 })
