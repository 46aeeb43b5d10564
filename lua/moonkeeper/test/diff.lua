-- Comparing values deeply, and showing what differs.
local core = require "moonkeeper.core"

local diff = {}

local SHOWN_MAX = 200 -- characters of one value
local DIFFERENCES_MAX = 8

local function key_text(key)
  if type(key) == "string" and key:match "^[%a_][%w_]*$" then return "." .. key end
  return "[" .. diff.show(key) .. "]"
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
    return type(a) < type(b)
  end)
  return keys
end

local function show_table(t, depth)
  if depth > 3 then return "{...}" end
  local parts, size = {}, 0
  for _, key in ipairs(sorted_keys(t)) do
    local value = diff.show(t[key], depth + 1)
    local part = math.type(key) == "integer" and key == #parts + 1 and value
      or key_text(key):gsub("^%.", "") .. " = " .. value
    parts[#parts + 1] = part
    size = size + #part
    if size > SHOWN_MAX then
      parts[#parts + 1] = "..."
      break
    end
  end
  return #parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }"
end

-- A value as one would write it in Lua.
function diff.show(value, depth)
  if type(value) == "string" then
    local text = ("%q"):format(value):gsub("\\\n", "\\n")
    return #text <= SHOWN_MAX and text or text:sub(1, SHOWN_MAX) .. "\"... (" .. #value .. " bytes)"
  elseif value == core.null then
    return "mk.null"
  elseif type(value) == "table" and not (getmetatable(value) or {}).__tostring then
    return show_table(value, depth or 1)
  end
  return tostring(value)
end

local function add(found, path, actual, expected)
  found.count = found.count + 1
  if found.count <= DIFFERENCES_MAX then
    found[#found + 1] = ("%s: got %s, expected %s"):format(path, actual, expected)
  end
end

local function walk(found, path, actual, expected, seen)
  if actual == expected or (actual ~= actual and expected ~= expected) then return end
  if type(actual) ~= "table" or type(expected) ~= "table" then
    add(found, path, diff.show(actual), diff.show(expected))
    return
  end
  if seen[actual] == expected then return end
  seen[actual] = expected
  for _, key in ipairs(sorted_keys(expected)) do
    local below = path .. key_text(key)
    if actual[key] == nil then
      add(found, below, "nothing", diff.show(expected[key]))
    else
      walk(found, below, actual[key], expected[key], seen)
    end
  end
  for _, key in ipairs(sorted_keys(actual)) do
    if expected[key] == nil then
      add(found, path .. key_text(key), diff.show(actual[key]), "nothing")
    end
  end
end

-- The line in which two texts of several lines begin to differ.
local function compare_lines(actual, expected)
  local number, a_lines, e_lines = 1, actual .. "\n", expected .. "\n"
  local a_next, e_next = a_lines:gmatch "(.-)\n", e_lines:gmatch "(.-)\n"
  local a, e = a_next(), e_next()
  while a == e do
    number, a, e = number + 1, a_next(), e_next()
  end
  return ("line %d differs\n  got:      %s\n  expected: %s"):format(number,
    a and diff.show(a) or "(nothing)", e and diff.show(e) or "(nothing)")
end

-- nil if they are equal; else what differs, for people.
function diff.compare(actual, expected)
  if type(actual) == "table" and type(expected) == "table" then
    local found = { count = 0 }
    walk(found, "", actual, expected, {})
    if found.count == 0 then return nil end
    if found.count > #found then found[#found + 1] = ("and %d more"):format(found.count - #found) end
    return "the tables differ\n  " .. table.concat(found, "\n  ")
  elseif actual == expected or (actual ~= actual and expected ~= expected) then
    return nil
  elseif type(actual) == "string" and type(expected) == "string"
    and (actual:find "\n" or expected:find "\n") then
    return compare_lines(actual, expected)
  end
  return ("got %s, expected %s"):format(diff.show(actual), diff.show(expected))
end

return diff
