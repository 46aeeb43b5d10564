-- Holds the lock "job" again and again, for a moment each time, and says so.
local mk = require "moonkeeper"

local function work(lock)
  local function leave() mk.emit("lock.left", { token = lock.token }) end
  local _ <close> = setmetatable({}, { __close = leave })
  mk.emit("lock.held", { token = lock.token })
  for _ = 1, 3 do
    assert(mk.kv.set("job", mk.info().id, { fence = { name = "job", token = lock.token } }))
    mk.task.sleep(100)
  end
  return true
end

while true do
  local done, err = mk.lock.with("job", { ttl_ms = mk.config.get("ttl_ms", 2000), timeout_ms = 20000 }, work)
  if not done then
    mk.emit("lock.missed", { code = err.code })
    mk.task.sleep(50)
  end
end
