-- mk.config: the application's own part of the node's configuration.
local core = require "moonkeeper.core"

local config = {}

local function lookup(path)
  local value = core.config()
  for key in path:gmatch "[^.]+" do
    if type(value) ~= "table" then return nil end
    local found = value[key]
    if found == nil then found = value[math.tointeger(key)] end
    value = found
  end
  return value
end

-- config.get("webhook.url", default)
function config.get(path, default)
  if type(path) ~= "string" then error("get(path, default): path is a string", 2) end
  local value = lookup(path)
  if value == nil or value == core.null then return default end
  return value
end

-- How many letters must change to make b of a.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(above + 1, row[j - 1] + 1, diagonal + cost)
      diagonal = above
    end
  end
  return row[#b]
end

local function nearest(name, known)
  local best, best_distance
  for _, candidate in ipairs(known) do
    local d = distance(name, candidate)
    if not best_distance or d < best_distance then best, best_distance = candidate, d end
  end
  if best and best_distance <= math.max(1, #name // 3) then return best end
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = tostring(key) end
  table.sort(keys)
  return keys
end

local function type_of(value)
  return math.type(value) == "integer" and "integer" or type(value)
end

local checks = {}

local function check(path, value, rule)
  local actual = type_of(value)
  if actual ~= rule.type and not (rule.type == "number" and actual == "integer") then
    error(("config: %s must be %s, it is %s"):format(path, rule.type, actual), 0)
  end
  if rule.min and value < rule.min then
    error(("config: %s must be at least %s, it is %s"):format(path, rule.min, value), 0)
  end
  if rule.max and value > rule.max then
    error(("config: %s must be at most %s, it is %s"):format(path, rule.max, value), 0)
  end
  if rule.one_of then
    for _, allowed in ipairs(rule.one_of) do
      if allowed == value then return end
    end
    error(("config: %s must be one of %s, it is %s"):format(path, table.concat(rule.one_of, ", "),
      tostring(value)), 0)
  end
  if rule.fields then checks.fields(path .. ".", value, rule.fields) end
end

function checks.fields(prefix, values, schema)
  local known = sorted_keys(schema)
  for _, key in ipairs(sorted_keys(values)) do
    if not schema[key] then
      local hint = nearest(key, known)
      error(("config: there is no key '%s%s'%s"):format(prefix, key,
        hint and (", did you mean '%s%s'?"):format(prefix, hint) or ""), 0)
    end
  end
  for _, key in ipairs(known) do
    local rule, value = schema[key], values[key]
    if value == nil or value == core.null then
      if rule.required then error(("config: %s%s is missing"):format(prefix, key), 0) end
      values[key] = rule.default
    else
      check(prefix .. key, value, rule)
    end
  end
end

local types = { string = true, number = true, integer = true, boolean = true, table = true }

local function check_schema(schema)
  for _, key in ipairs(sorted_keys(schema)) do
    local rule = schema[key]
    if type(rule) ~= "table" or not types[rule.type] then
      error(("declare: %s needs a type (string, number, integer, boolean, table)"):format(key), 3)
    end
    if rule.fields then check_schema(rule.fields) end
  end
end

-- Hold the configuration against a schema, and fill in its defaults:
--   { url = { type = "string", required = true }, retries = { type = "integer", min = 0, default = 3 },
--     tls = { type = "table", fields = { ... } }, mode = { type = "string", one_of = { "a", "b" } } }
function config.declare(schema)
  check_schema(schema)
  local values = core.config()
  checks.fields("", values, schema)
  return values
end

return config
