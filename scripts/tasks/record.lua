-- What the log has: tasks, and what nodes offer. Anybody may write there, so nothing is relied on unseen.
local mk = require "moonkeeper"
local tables = require "tasks.tables"

local record = {}

record.FINISHED = { done = true, failed = true, cancelled = true }

local fields = {
  state = "string", node = "string", kind = "string", label = "string", attempt = "integer",
  failures = "integer", moves = "integer", retries = "integer", timeout_ms = "integer",
  not_before_ms = "integer", ended_ms = "integer",
  exclusive = "boolean", movable = "boolean", cancel = "boolean",
}

local function is_list_of_texts(value)
  if type(value) ~= "table" then return false end
  for _, text in ipairs(value) do
    if type(text) ~= "string" then return false end
  end
  return true
end

-- Why this is no task; nil: it is one.
local function flaw_of(value)
  if type(value) ~= "table" then return "it is no table" end
  for name, kind in pairs(fields) do
    local field = value[name]
    if field ~= nil and (math.type(field) or type(field)) ~= kind then
      return name .. " must be of type " .. kind
    end
  end
  if value.argv ~= nil and not (is_list_of_texts(value.argv) and value.argv[1]) then
    return "argv must be a list of texts"
  end
end

local function as_table(value)
  if type(value) ~= "table" then value = {} end
  value.attempt = value.attempt or 0
  return value
end

-- { slots, labels, kinds }
function record.is_offer(value)
  return type(value) == "table" and math.type(value.slots) == "integer" and is_list_of_texts(value.labels)
    and is_list_of_texts(value.kinds)
end

-- The tasks under a prefix, as this node knows them. by_id has { key, value, version, flaw }, and when this
-- node learned of that: heard_ms, by the clock that only goes on, and heard_wall_ms.
local Book = {}
Book.__index = Book

function record.book(prefix) return setmetatable({ prefix = prefix, by_id = {} }, Book) end

-- What the log has now, as a watch tells or a write of ours brought about: whichever is newer.
function Book:learn(id, value, version)
  local task = self.by_id[id]
  if not task or task.version < version then
    self.by_id[id] = { key = self.prefix .. id, value = as_table(value), version = version,
      flaw = flaw_of(value), heard_ms = mk.time.now_ms(), heard_wall_ms = mk.time.wall_ms() }
  end
end

-- It was deleted, by the entry at this index.
function Book:forget(id, index)
  local task = self.by_id[id]
  if task and task.version < index then self.by_id[id] = nil end
end

function Book:forget_all() self.by_id = {} end

-- The task as the log has it: value, version; nil, and why not unless it is gone.
function Book:fetch(id)
  local value, version = mk.kv.get(self.prefix .. id)
  if value == nil then return nil, version end
  self:learn(id, value, version)
  return as_table(value), version
end

-- What is left of a task that no command can carry any more.
local function remains(value)
  return tables.with(value, {
    state = "failed", ended_ms = mk.time.wall_ms(),
    error = "all there is to know about it is more than a command may carry; this is what is left",
    args = mk.null, argv = mk.null, result = mk.null, output = mk.null,
  })
end

-- Write what a task is to be, if nobody else has written meanwhile. Returns what was written: a task that
-- has become too large has failed.
function Book:write(id, value, version, fence)
  local options = { if_version = version, fence = fence }
  local done, err = mk.kv.set(self.prefix .. id, value, options)
  if err and err.code == "too_large" then
    mk.log.warn("tasks: a task has become too large", { id = id })
    value = remains(value)
    done, err = mk.kv.set(self.prefix .. id, value, options)
  end
  if not done then return nil, err end
  self:learn(id, value, done.version)
  return value
end

-- Take it away, likewise.
function Book:delete(id, fence)
  local task = self.by_id[id]
  assert(mk.kv.delete(task.key, { if_version = task.version, fence = fence }))
  self.by_id[id] = nil
end

return record
