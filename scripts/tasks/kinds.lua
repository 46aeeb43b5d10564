-- Kinds of tasks, as the settings have them, and labels of nodes.
local tables = require "tasks.tables"

local kinds = {}

-- What a kind may have, for mk.config.declare; a task may have all but handler itself.
kinds.rule = { type = "table", fields = {
  argv = { type = "table", min = 1, items = { type = "string" } },
  handler = { type = "string" },
  label = { type = "string" },
  exclusive = { type = "boolean", default = false },
  movable = { type = "boolean", default = false },
  retries = { type = "integer", min = 0, default = 0 },
  timeout_ms = { type = "integer", min = 1 },
} }

-- What a task says of itself, or else its kind of all such.
function kinds.option(settings, value, name)
  if value[name] ~= nil then return value[name] end
  local kind = settings.kinds[value.kind]
  return kind and kind[name]
end

-- How long to wait after so many failures.
function kinds.pause_ms(settings, failures)
  return settings.retry_ms << math.max(0, math.min(failures - 1, 10))
end

-- All labels of nodes that have some, as a set.
function kinds.labels_of(nodes)
  local labels = {}
  for _, node in pairs(nodes) do
    for _, label in ipairs(node.labels or {}) do labels[label] = true end
  end
  return labels
end

-- Why no node will ever run something with this label; nil if one may.
local function label_mistake(label, labels)
  if not label or labels[label] then return nil end
  local known = tables.sorted_keys(labels)
  return ("no node has the label '%s'; %s"):format(label,
    #known > 0 and "there are " .. table.concat(known, ", ") or "no node has any")
end

-- What is wrong with what a task wants; nil: nothing.
function kinds.mistake(settings, value, labels)
  if value.kind and not settings.kinds[value.kind] then
    local known = tables.sorted_keys(settings.kinds)
    return ("there is no kind '%s'; there %s"):format(value.kind,
      #known > 0 and "are " .. table.concat(known, ", ") or "is none in the settings")
  end
  if not value.kind and not value.argv then return "it has neither a kind nor argv" end
  return label_mistake(kinds.option(settings, value, "label"), labels)
end

-- A handler is a function of a module in handlers_dir: "thumbnails.make".
local function find_handler(text)
  local module, name = text:match "^(.+)%.([%a_][%w_]*)$"
  local found, loaded = pcall(require, module or text)
  local fn = found and type(loaded) == "table" and loaded[name]
  if fn then return fn end
  return nil, ("there is no function %s: %s"):format(text, found and "not in its module" or tostring(loaded))
end

-- Find the handlers: that of a kind becomes its fn. Raises what is wrong with the kinds in the settings.
function kinds.load(settings)
  if settings.handlers_dir then package.path = settings.handlers_dir .. "/?.lua;" .. package.path end
  local labels = kinds.labels_of(settings.nodes)
  for _, name in ipairs(tables.sorted_keys(settings.kinds)) do
    local kind, path = settings.kinds[name], "config: kinds." .. name
    if (kind.argv == nil) == (kind.handler == nil) then
      error(path .. " must have either argv or handler", 0)
    end
    local mistake = label_mistake(kind.label, labels)
    if mistake then error(path .. ".label: " .. mistake, 0) end
    if kind.handler then
      kind.fn, mistake = find_handler(kind.handler)
      if mistake then error(path .. ".handler: " .. mistake, 0) end
    end
  end
end

return kinds
