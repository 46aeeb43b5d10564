-- Writes down which commits it is told of, and by which generation: told/NODE/KEY, and twice/... for those it
-- is told of again.
local mk = require "moonkeeper"

local told = mk.metrics.counter("told_total")
local me, generation = mk.info().id, mk.info().generation

mk.on("commit", function(ev)
  local key = ev.cmd == "set" and ev.args.key:match "^job/.*"
  if not key then return end
  told:add()
  local _, err = mk.kv.set("told/" .. me .. "/" .. key, generation, { if_version = 0 })
  if err and err.code == "conflict" then mk.kv.set("twice/" .. me .. "/" .. key, generation) end
end, { name = "told" })
