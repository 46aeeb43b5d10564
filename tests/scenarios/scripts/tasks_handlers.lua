-- Handlers of tasks, for script_tasks.lua.
local mk = require "moonkeeper"

local handlers = {}

function handlers.sum(numbers)
  if type(numbers) ~= "table" then return nil, "a list of numbers, please" end
  local sum = 0
  for _, number in ipairs(numbers) do sum = sum + number end
  return sum
end

-- The first 60,000 characters of a text, once more.
function handlers.repeated(text) return text:sub(1, 60000) end

function handlers.stubborn() return mk.exec.run { "stubborn" } end

-- Fails with a program of its own still running.
function handlers.hasty()
  mk.task.spawn(handlers.stubborn)
  mk.task.sleep(100)
  return nil, "oh"
end

return handlers
