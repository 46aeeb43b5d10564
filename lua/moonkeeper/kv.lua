-- mk.kv: keys and values in the replicated machine "kv" (lua/moonkeeper/machines/kv.sm.lua).
local core = require "moonkeeper.core"
local names = require "moonkeeper.names"
local options = require "moonkeeper.options"
local raft = require "moonkeeper.raft"

local kv = { watch = require "moonkeeper.watch" }

local changing = { timeout_ms = "number", forward = "boolean", fence = true, id = "string",
  if_version = "number", lease = true }

local function check_key(key)
  if type(key) ~= "string" then error("a key is a string, got " .. type(key), 3) end
end

-- The options of a call are of two kinds: those of the command, and those of the proposal. A fence that is
-- a number is the token of a leadership, and the proposal's; {name, token} is checked by the machine.
local function split(opts, args)
  local proposal = {}
  for name, value in pairs(opts or {}) do
    if name == "lease" then
      args[name] = type(value) == "table" and value.id or value
    elseif name == "if_version" or name == "fence" and type(value) == "table" then
      args[name] = value
    else
      proposal[name] = value
    end
  end
  return args, proposal
end

-- The value, and its version; nil when there is no such key.
function kv.get(key, opts)
  check_key(key)
  names.check_options(opts, options.reading, 2)
  local found, err = raft.query("kv", "get", { key = key }, opts)
  if type(found) ~= "table" then return nil, err end
  return found.value, found.version
end

function kv.set(key, value, opts)
  check_key(key)
  names.check_options(opts, changing, 2)
  return raft.propose("kv", "set", split(opts, { key = key, value = value }))
end

function kv.delete(key, opts)
  check_key(key)
  names.check_options(opts, changing, 2)
  return raft.propose("kv", "delete", split(opts, { key = key }))
end

-- Set a new key, prefix followed by the index of its entry as 16 hexadecimal digits: {key, version,
-- index}. Keys of one prefix are in the order in which they were created.
function kv.create(prefix, value, opts)
  if type(prefix) ~= "string" then error("a prefix is a string, got " .. type(prefix), 2) end
  names.check_options(opts, changing, 2)
  return raft.propose("kv", "create", split(opts, { prefix = prefix, value = value }))
end

-- From now on, whoever shows an older token under this name is refused.
function kv.fence(name, token, opts)
  if type(name) ~= "string" then error("fence(name, token): a name is a string", 2) end
  names.check_options(opts, options.proposing, 2)
  local done, err = raft.propose("kv", "fence", { name = name, token = token }, opts)
  if not done then return nil, err end
  return true
end

-- All or none of a list of operations, each { op = "set" | "delete" | "get" | "check", key = ... }: the
-- results, in the same order.
function kv.txn(ops, opts)
  if type(ops) ~= "table" then error("txn(ops): a list of operations", 2) end
  names.check_options(opts, options.proposing, 2)
  local done, err = raft.propose("kv", "txn", { ops = ops }, opts)
  if not done then return nil, err end
  return done.results
end

-- An array of {key, value, version} in the order of keys. The node answers in pages; each is
-- linearizable by itself.
function kv.list(prefix, opts)
  if type(prefix) ~= "string" then error("a prefix is a string, got " .. type(prefix), 2) end
  names.check_options(opts, options.reading, 2)
  local items, after = core.array {}, nil
  repeat
    local page, err = raft.query("kv", "list", { prefix = prefix, after = after, limit = 1000 }, opts)
    if not page then return nil, err end
    table.move(page.items, 1, #page.items, #items + 1, items)
    after = page.next
  until after == nil or after == core.null
  return items
end

return kv
