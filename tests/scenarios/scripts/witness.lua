-- Tells the world when this node has applied that a notification was accepted: for
-- tests/scenarios/lib/notices.lua.
local mk = require "moonkeeper"

mk.on("commit", function(ev)
  if ev.kind ~= "command" or ev.sm ~= "kv" or ev.err then return end
  for _, op in ipairs(ev.args.ops or { ev.args }) do
    local value = type(op.value) == "table" and op.value
    if value and value.state == "accepted" and ev.applied ~= false then
      mk.http.get("http://witness.example/?" .. value.id)
    end
  end
end)
