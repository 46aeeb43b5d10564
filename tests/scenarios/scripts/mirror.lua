-- Mirrors the keys under "w/" in this node's memory, and says what it has on "mirror.ask".
local mk = require "moonkeeper"

local mirror, collected, last, synced, gaps = {}, {}, 0, false, 0

mk.on("mirror.ask", function()
  mk.emit("mirror.told", { keys = synced and mirror or mk.null, gaps = gaps, last = last })
end)

for ev in mk.kv.watch("w/", { initial = true }) do
  if ev.type == "gap" then
    synced, collected, gaps = false, {}, gaps + 1
  elseif ev.type == "synced" then
    mirror, synced = collected, true
    last = math.max(last, ev.index)
  else
    if synced then
      assert(ev.index >= last, "an event came twice or out of order") -- a transaction has one index
      last = ev.index
    end
    collected[ev.key] = ev.type == "set" and ev.value or nil
  end
end
