-- A main chunk that works for a while, then fails: what a reload must survive.
local mk = require "moonkeeper"

mk.on("commit", function() mk.kv.set("broken", true) end, { name = "told" })
mk.while_leader("worker", function() mk.kv.set("broken", true) end)
mk.task.spawn(function() mk.kv.set("broken", true) end)
mk.task.sleep(50)
error("broken on purpose")
