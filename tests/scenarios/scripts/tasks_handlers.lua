-- Handlers of tasks, for script_tasks.lua.
local handlers = {}

function handlers.sum(numbers)
  if type(numbers) ~= "table" then return nil, "a list of numbers, please" end
  local sum = 0
  for _, number in ipairs(numbers) do sum = sum + number end
  return sum
end

return handlers
