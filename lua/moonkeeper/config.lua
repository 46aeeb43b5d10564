-- mk.config: the application's own part of the node's configuration.
local core = require "moonkeeper.core"
local names = require "moonkeeper.names"

local MISTAKES_MAX = 10 -- that are told at once

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
  if value ~= nil and value ~= core.null then return value end
  if default == nil then core.lacking() end
  return default
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

local function fail(path, text, ...)
  error(("config: %s " .. text):format(path, ...), 0)
end

local checks = {}

-- Is it, for this part of the rule? Each complains itself.
function checks.type(path, value, rule)
  local actual = type_of(value)
  if actual ~= rule.type and not (rule.type == "number" and actual == "integer") then
    fail(path, "must be %s, it is %s", rule.items and "a list" or rule.type, actual)
  end
end

local counted = { table = "element", string = "byte" }

-- Of a number; of a list, how many elements it has; of a string, how many bytes.
function checks.bounds(path, value, rule)
  local unit = counted[type(value)]
  local size = unit and #value or value
  local function complain(how, bound)
    if value == "" then fail(path, "must not be empty") end
    if not unit then fail(path, "must be %s %s, it is %s", how, bound, size) end
    fail(path, "must have %s %s %s%s, it has %s", how, bound, unit, bound ~= 1 and "s" or "", size)
  end
  if rule.min and size < rule.min then complain("at least", rule.min) end
  if rule.max and size > rule.max then complain("at most", rule.max) end
end

function checks.one_of(path, value, rule)
  for _, allowed in ipairs(rule.one_of) do
    if allowed == value then return end
  end
  fail(path, "must be one of %s, it is %s", table.concat(rule.one_of, ", "), tostring(value))
end

-- What many configurations have: a type, and a sentence if a value of it is none of these.
local formats = {
  name = { "string", function(value)
    return not value:find "^[%w_.-]+$" and "a name has letters, digits, '_', '-' and '.'"
  end },
  environment = { "table", function(variables)
    for _, name in ipairs(sorted_keys(variables)) do
      if name == "" or name:find "[=\0]" then return ("'%s' is no name of a variable"):format(name) end
    end
  end },
}

local function complain(path, complaint)
  if complaint then error(("config: %s: %s"):format(path, tostring(complaint)), 0) end
end

local function check(path, value, rule, mistakes)
  local before = #mistakes
  checks.type(path, value, rule)
  if rule.items then checks.list(path, value) end
  if rule.min or rule.max then checks.bounds(path, value, rule) end
  if rule.one_of then checks.one_of(path, value, rule) end
  if rule.fields then checks.fields(path .. ".", value, rule.fields, mistakes) end
  if rule.items then checks.items(path, value, rule.items, mistakes) end
  if rule.values then checks.values(path, value, rule.values, mistakes) end
  if #mistakes > before then return end -- what follows counts on all of the above
  if rule.unique then checks.unique(path, value, rule.unique) end
  if rule.format then complain(path, formats[rule.format][2](value)) end
  if rule.check then complain(path, rule.check(value, path)) end
end

-- check(), whose mistake stops nobody: what is beside it is looked at, too.
local function try(path, value, rule, mistakes)
  local good, mistake = pcall(check, path, value, rule, mistakes)
  if not good then mistakes[#mistakes + 1] = tostring(mistake) end
end

function checks.fields(prefix, values, schema, mistakes)
  local known, meant = sorted_keys(schema), {}
  for _, key in ipairs(sorted_keys(values)) do
    if not schema[key] then
      local hint = names.nearest(key, known)
      if hint then meant[hint] = true end
      mistakes[#mistakes + 1] = ("config: there is no key '%s%s', %s"):format(
        prefix, key, names.suggest(hint, known))
    end
  end
  for _, key in ipairs(known) do
    local rule, value = schema[key], values[key]
    if value ~= nil and value ~= core.null then
      try(prefix .. key, value, rule, mistakes)
    elseif not rule.required then
      values[key] = rule.default
    elseif not meant[key] then
      mistakes[#mistakes + 1] = ("config: %s%s is missing"):format(prefix, key)
    end
  end
end

-- 1, 2, 3 ... and no other keys.
function checks.list(path, list)
  for key in pairs(list) do
    if math.type(key) ~= "integer" or key < 1 or key > #list then
      fail(path, "must be a list, it has the key '%s'", tostring(key))
    end
  end
end

function checks.items(path, list, rule, mistakes)
  for i, value in ipairs(list) do try(("%s[%d]"):format(path, i), value, rule, mistakes) end
end

-- No two elements are the same, or have the same under this key.
function checks.unique(path, list, key)
  local first = {}
  local function at(i) return ("%s[%d]%s"):format(path, i, key ~= true and "." .. key or "") end
  for i, element in ipairs(list) do
    local value = element
    if key ~= true then value = element[key] end
    if first[value] then fail(at(i), "must be unique, %s is '%s' too", at(first[value]), tostring(value)) end
    if value ~= nil then first[value] = i end
  end
end

-- A map: names that the schema does not know, each with a value of this kind.
function checks.values(path, map, rule, mistakes)
  for _, key in ipairs(sorted_keys(map)) do
    if map[key] == nil then fail(path, "must have names as keys, it has %s", key) end
    try(path .. "." .. key, map[key], rule, mistakes)
  end
end

-- Schemas -----------------------------------------------------------------------------------------

local types = { string = true, number = true, integer = true, boolean = true, table = true }
local parts = { "check", "default", "fields", "format", "items", "max", "min", "one_of", "required", "type",
  "unique", "values" }
local has_bounds = { number = true, integer = true, string = true }
local check_schema

-- A misspelt part of a rule would be a rule that is not held.
local function check_parts(path, rule)
  for _, part in ipairs(sorted_keys(rule)) do
    if not names.is_one_of(part, parts) then
      local hint = names.nearest(part, parts)
      error(("declare: the rule of %s has no '%s', %s"):format(path, part, names.suggest(hint, parts)), 0)
    end
  end
  if (rule.min or rule.max) and not (has_bounds[rule.type] or rule.items) then
    error(("declare: %s has min or max, which are for numbers, strings and lists"):format(path), 0)
  end
  local format = formats[rule.format]
  if rule.format and (not format or format[1] ~= rule.type) then
    error(("declare: %s has the format '%s', which is %s"):format(path, tostring(rule.format), format
      and "for a " .. format[1] or "none of " .. table.concat(sorted_keys(formats), ", ")), 0)
  end
  local key, fields = rule.unique, rule.items and rule.items.fields
  if key and not (rule.items and key == true) and not (fields and fields[key]) then
    error(("declare: %s has unique, which is true, or a field of its items"):format(path), 0)
  end
end

local function check_rule(path, rule)
  if type(rule) ~= "table" or not types[rule.type] then
    error(("declare: %s needs a type (string, number, integer, boolean, table)"):format(path), 0)
  end
  check_parts(path, rule)
  if rule.fields then check_schema(path .. ".", rule.fields) end
  if rule.items then check_rule(path .. "[]", rule.items) end
  if rule.values then check_rule(path .. ".*", rule.values) end
end

function check_schema(prefix, schema)
  for _, key in ipairs(sorted_keys(schema)) do check_rule(prefix .. key, schema[key]) end
end

-- Hold the configuration against a schema, and fill in its defaults: the configuration. Its mistakes are
-- raised, a line for each, with the path of the value. A rule has a type, and:
--   required, default   when there is no value
--   min, max            of a number; of a list, how many elements; of a string, how many bytes
--   one_of = {...}      the values that it may have
--   fields = {...}      a table with these keys, each with a rule of its own
--   items = rule        a list; unique = "key": no two elements have the same there (true: are the same)
--   values = rule       a map from names of any kind
--   format = "name", "environment"   of a string; of a map whose names are variables of a program
--   check = function(value, path)   a sentence if something else is wrong with it
function config.declare(schema)
  local good, mistake = pcall(check_schema, "", schema)
  if not good then error(mistake, 2) end
  local values, mistakes = core.config(), {}
  checks.fields("", values, schema, mistakes)
  core.declared(#mistakes == 0)
  local beyond = #mistakes - MISTAKES_MAX
  if beyond > 0 then mistakes[MISTAKES_MAX + 1] = ("config: and %d more"):format(beyond) end
  if #mistakes > 0 then error(table.concat(mistakes, "\n", 1, math.min(#mistakes, MISTAKES_MAX + 1)), 0) end
  return values
end

return config
