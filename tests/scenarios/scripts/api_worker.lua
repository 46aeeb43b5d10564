-- luacheck: no max line length
-- worker.lua: a process that runs on the leader and nowhere else
local mk = require "moonkeeper"
mk.while_leader("worker", function(lead)
  while true do
    local p = assert(mk.exec.spawn(mk.config.get("worker.argv"), { stdout = "log", stderr = "log", stop_signal = "TERM",
      stop_ms = 5000, env = { FENCING_TOKEN = tostring(lead.token) } }))
    local st = p:wait()
    mk.log.warn("worker exited", { code = st.code, signal = st.signal })
    mk.task.sleep(1000)
  end
end, { grace_ms = 6000 })       -- a planned hand-over waits up to 6 s for it to stop
