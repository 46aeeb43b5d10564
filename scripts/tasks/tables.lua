-- What tables of Lua lack.
local mk = require "moonkeeper"

local tables = {}

function tables.sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

function tables.has(list, wanted)
  for _, element in ipairs(list) do
    if element == wanted then return true end
  end
  return false
end

-- A copy with these changes; mk.null takes a field away.
function tables.with(value, changes)
  local new = {}
  for name, old in pairs(value) do new[name] = old end
  for name, to in pairs(changes) do new[name] = to ~= mk.null and to or nil end
  return new
end

return tables
