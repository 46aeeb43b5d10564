-- Answers calls with its version, and fails after that when it is told to: for tests of reloading.
local mk = require "moonkeeper"

mk.cluster.handle("version", function() return mk.config.get "version" end)
mk.on("config_change", function(ev) mk.emit("answerer.changed", { app = ev.app, keys = ev.keys }) end)
if mk.config.get "broken" then error("broken on purpose") end
