-- Two commit hooks beside each other, and how much each was told: one begins with the next commit, one with
-- the whole log.
local mk = require "moonkeeper"

for name, from in pairs { from_now = false, from_one = 1 } do
  local told = mk.metrics.counter(name .. "_total")
  mk.on("commit", function() told:add() end, { name = name, from_index = from or nil })
end
