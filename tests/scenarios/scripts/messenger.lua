-- Answers calls in several ways, and remembers what messages it was told.
local mk = require "moonkeeper"

local messages, slow_left = mk.array {}, 0

mk.cluster.handle("seen", function() return { messages = messages, slow_left = slow_left } end)

mk.cluster.handle("echo", function(payload, from)
  return { payload = payload, from = from, by = mk.info().id }
end)
mk.cluster.handle("fail", function() error("I will not") end)
mk.cluster.handle("slow", function(ms)
  mk.task.defer(function() slow_left = slow_left + 1 end)
  mk.task.sleep(ms)
  return "done"
end)
mk.cluster.handle("large", function(size) return ("x"):rep(size) end)

mk.on("message", function(ev)
  if #messages < 100 then
    messages[#messages + 1] = { from = ev.from, topic = ev.topic, payload = ev.payload }
  end
end)
