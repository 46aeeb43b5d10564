-- What looks after something that goes on gives up for no other reason than its end: while too many requests
-- of the node are unanswered it asks again.
local core = require "moonkeeper.core"

local BUSY_MS = 50

return function(call, ...)
  while true do
    local value, err = call(...)
    if not err or err.code ~= "busy" then return value, err end
    core.sleep(BUSY_MS)
  end
end
