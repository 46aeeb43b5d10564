-- The replicated key-value store behind mk.kv: a state machine like any other.
--
--   st.keys[key] = { value = any, version = index of the log entry that changed it last }
--
-- A version therefore never comes back, not even when a key is deleted and set again, and it tells
-- where in the order of all changes this one stands. if_version = 0 asks that there be no such key.

local error, type = error, type
local math_type, format = math.type, string.format

local KEY_BYTES_MAX = 1024
local LIST_DEFAULT, LIST_MAX, LIST_BYTES_MAX = 100, 1000, 1 << 20
local TXN_MAX = 128

local function reject(message)
  error({ code = "rejected", message = message })
end

local function check_key(key)
  if type(key) ~= "string" then
    reject("key must be a string, not a " .. type(key))
  end
  local size = #key
  if size == 0 or size > KEY_BYTES_MAX then
    reject(format("key must have 1 to %d bytes, not %d", KEY_BYTES_MAX, size))
  end
end

local function check_version(entry, args)
  local wanted = args.if_version
  if wanted == nil then
    return
  end
  if math_type(wanted) ~= "integer" or wanted < 0 then
    reject("if_version must be an integer, 0 for a key that is not there")
  end
  local version = entry and entry.version or 0
  if version ~= wanted then
    error({
      code = "conflict",
      message = format("the key has version %d, not %d", version, wanted),
      key = args.key,
      version = version,
    })
  end
end

local function set(st, args, meta)
  local key, value, keys = args.key, args.value, st.keys
  check_key(key)
  if value == nil then
    reject("value is missing; to remove a key, delete it")
  end
  if args.if_version ~= nil then
    check_version(keys[key], args)
  end
  local index = meta.index
  keys[key] = { value = value, version = index }
  return { version = index, index = index }
end

local function delete(st, args, meta)
  check_key(args.key)
  local keys = st.keys
  local entry = keys[args.key]
  check_version(entry, args)
  if entry then
    keys[args.key] = nil
  end
  return { deleted = entry ~= nil, index = meta.index }
end

local function get(st, args)
  check_key(args.key)
  return st.keys[args.key]
end

local function check(st, args)
  check_key(args.key)
  check_version(st.keys[args.key], args)
  return mk.null
end

local operations = {
  set = set,
  delete = delete,
  get = function(st, args)
    return get(st, args) or mk.null
  end,
  check = check,
}

-- { ops = { { op = "check", key =, if_version = }, { op = "set", ... }, ... } }: all of them or, when
-- one is rejected, none. Later ones see what earlier ones did. The results are in the same order.
local function txn(st, args, meta)
  local ops = args.ops
  if type(ops) ~= "table" or #ops == 0 or #ops > TXN_MAX then
    reject(format("ops must be a list of 1 to %d operations", TXN_MAX))
  end
  local results = {}
  for i = 1, #ops do
    local op = ops[i]
    local run = type(op) == "table" and type(op.op) == "string" and operations[op.op]
    if not run then
      reject(format("operation %d must have op = set, delete, get or check", i))
    end
    results[i] = run(st, op, meta)
  end
  return { results = results, index = meta.index }
end

-- { prefix =, limit =, after = }: in order of keys, from the first one after `after`. `next` is there
-- when there is more, because of the limit or because the values are large: pass it as `after`.
local function list(st, args)
  local prefix, after = args.prefix or "", args.after
  local limit = args.limit or LIST_DEFAULT
  if type(prefix) ~= "string" or (after ~= nil and type(after) ~= "string") then
    reject("prefix and after must be strings")
  end
  if math_type(limit) ~= "integer" or limit < 1 or limit > LIST_MAX then
    reject(format("limit must be an integer from 1 to %d", LIST_MAX))
  end
  local from = prefix
  if after and after >= prefix then
    from = after .. "\0" -- the first string after it
  end
  local items, count, bytes = mk.array({}), 0, 0
  for key, entry in mk.range(st.keys, from) do
    if key:sub(1, #prefix) ~= prefix then
      break
    end
    bytes = bytes + #key + mk.size(entry)
    if count == limit or (count > 0 and bytes > LIST_BYTES_MAX) then
      return { items = items, next = items[count].key }
    end
    count = count + 1
    items[count] = { key = key, value = entry.value, version = entry.version }
  end
  return { items = items }
end

return {
  name = "kv",
  version = 1,
  init = function(st)
    st.keys = {}
  end,
  apply = { set = set, delete = delete, txn = txn },
  query = { get = get, list = list },
}
