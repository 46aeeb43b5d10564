-- The replicated key-value store behind mk.kv: a state machine like any other.
--
--   st.keys[key]           { value = any, version = index of the log entry that changed it last,
--                            lease = id or nil }
--   st.leases[id]          { ttl_ms, deadline, keys = how many }
--   st.deadlines[text]     id: the leases in the order in which they end
--   st.attached[text]      key: what goes when a lease ends
--   st.fences[name]        the newest token shown
--   st.clock               { ms, time_ms, term }
--
-- A version never comes back, not even when a key is deleted and set again, and it tells where in the
-- order of all changes this one stands. if_version = 0 asks that there be no such key.
--
-- The clock of leases advances by what passed between two entries of one term, which is what the
-- leader's monotonic clock says. Between two leaders it stands still: a lease outlives an election by as
-- much as it had left.

local error, type = error, type
local math_type, format = math.type, string.format

local KEY_BYTES_MAX = 1024
local LIST_DEFAULT, LIST_MAX, LIST_BYTES_MAX = 100, 1000, 1 << 20
local TXN_MAX = 128
local TTL_MIN_MS, TTL_MAX_MS = 100, 24 * 3600 * 1000
local LEASE_KEYS_MAX = 1024
local ENDED_MAX = 128 -- leases that end with one command
local NAME_BYTES_MAX = 256

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

-- ---- leases --------------------------------------------------------------------------------------

local function deadline_key(deadline, id)
  return format("%016x%016x", deadline, id)
end

local function attached_key(id, key)
  return format("%016x", id) .. key
end

local function now(st, meta)
  local clock = st.clock
  if clock.term == meta.term and meta.time_ms > clock.time_ms then
    return clock.ms + meta.time_ms - clock.time_ms
  end
  return clock.ms
end

-- The ids of leases are their entries' indexes, so 0 is none.
local function check_lease_id(id)
  if math_type(id) ~= "integer" or id < 1 then
    reject("a lease is named by the id that granting it returned")
  end
end

-- End a lease: its keys go with it, into the list of deleted keys.
local function end_lease(st, id, lease, deleted)
  local prefix, keys, rows = format("%016x", id), st.keys, {}
  for row, key in mk.range(st.attached, prefix) do
    if row:sub(1, 16) ~= prefix then
      break
    end
    rows[#rows + 1] = row
    keys[key] = nil
    deleted[#deleted + 1] = key
  end
  for i = 1, #rows do
    st.attached[rows[i]] = nil
  end
  st.deadlines[deadline_key(lease.deadline, id)] = nil
  st.leases[id] = nil
end

-- The clock is brought up to this entry, and the leases whose time is over end: as many as fit one
-- command, the others with the next.
local function pass_time(st, meta, deleted)
  local ms, ended = now(st, meta), {}
  st.clock = { ms = ms, time_ms = meta.time_ms, term = meta.term }
  local keys = 0
  for _, id in mk.range(st.deadlines, "") do
    local lease = st.leases[id]
    if lease.deadline > ms or (keys > 0 and keys + lease.keys > LEASE_KEYS_MAX) or #ended == ENDED_MAX then
      break
    end
    keys = keys + lease.keys
    ended[#ended + 1] = id
  end
  for i = 1, #ended do
    end_lease(st, ended[i], st.leases[ended[i]], deleted)
  end
  return ms
end

-- Attach a key to a lease that goes on.
local function attach(st, id, key)
  check_lease_id(id)
  local lease = st.leases[id]
  if not lease then
    error({ code = "not_found", message = "the lease has ended, or there never was one", lease = id })
  end
  local row = attached_key(id, key)
  if not st.attached[row] then
    if lease.keys >= LEASE_KEYS_MAX then
      reject(format("a lease holds %d keys at most", LEASE_KEYS_MAX))
    end
    st.attached[row] = key
    lease.keys = lease.keys + 1
  end
  return id
end

-- A key that goes, or that another or no lease has from now on, is not counted any more.
local function detach(st, entry, key)
  local id = entry.lease
  if id then
    local lease = st.leases[id]
    st.attached[attached_key(id, key)] = nil
    lease.keys = lease.keys - 1
  end
end

-- { ttl_ms = }: a lease that ends when it is not kept alive for so long.
local function lease_grant(st, args, meta)
  local ttl_ms = args.ttl_ms
  if math_type(ttl_ms) ~= "integer" or ttl_ms < TTL_MIN_MS or ttl_ms > TTL_MAX_MS then
    reject(format("ttl_ms must be an integer from %d to %d", TTL_MIN_MS, TTL_MAX_MS))
  end
  local deleted = mk.array({})
  local deadline = pass_time(st, meta, deleted) + ttl_ms
  local id = meta.index
  st.leases[id] = { ttl_ms = ttl_ms, deadline = deadline, keys = 0 }
  st.deadlines[deadline_key(deadline, id)] = id
  return { id = id, ttl_ms = ttl_ms, index = id, deleted = deleted }
end

-- { id = }: it has its whole time again. ended = true: it is over, and its keys are gone.
local function lease_keep(st, args, meta)
  local id = args.id
  check_lease_id(id)
  local deleted = mk.array({})
  local ms = pass_time(st, meta, deleted)
  local lease = st.leases[id]
  if lease then
    st.deadlines[deadline_key(lease.deadline, id)] = nil
    lease.deadline = ms + lease.ttl_ms
    st.deadlines[deadline_key(lease.deadline, id)] = id
  end
  return { ended = lease == nil, index = meta.index, deleted = deleted }
end

-- { id = }: end it now.
local function lease_revoke(st, args, meta)
  local id = args.id
  check_lease_id(id)
  local deleted = mk.array({})
  pass_time(st, meta, deleted)
  local lease = st.leases[id]
  if lease then
    end_lease(st, id, lease, deleted)
  end
  return { ended = true, index = meta.index, deleted = deleted }
end

-- Proposed by the leader when wake() says so.
local function wake_up(st, _, meta)
  local deleted = mk.array({})
  pass_time(st, meta, deleted)
  return { index = meta.index, deleted = deleted }
end

-- A new leader starts its clock at once, for only from then on does time pass for leases.
local function wake(st, meta)
  local step, keys, start = mk.range(st.deadlines, "")
  local _, id = step(keys, start)
  if not id then
    return nil
  end
  return st.clock.term == meta.term and st.leases[id].deadline - now(st, meta) or 0
end

-- { id = }
local function lease_show(st, args, meta)
  check_lease_id(args.id)
  local lease = st.leases[args.id]
  if lease then
    local left = lease.deadline - now(st, meta)
    return { id = args.id, ttl_ms = lease.ttl_ms, remaining_ms = left > 0 and left or 0, keys = lease.keys }
  end
end

-- ---- fences --------------------------------------------------------------------------------------

local function check_fence(st, fence)
  local name, token = fence.name, fence.token
  if type(name) ~= "string" or #name == 0 or #name > NAME_BYTES_MAX then
    reject(format("a fence's name is a string of 1 to %d bytes", NAME_BYTES_MAX))
  end
  if math_type(token) ~= "integer" or token < 1 then
    reject("a fence's token is a positive integer")
  end
  local newest = st.fences[name]
  if newest and newest > token then
    error({
      code = "fenced",
      message = format("the token %d of %s is not the newest: %d is", token, name, newest),
      token = newest,
    })
  end
  if newest ~= token then
    st.fences[name] = token
  end
end

-- { name =, token = }: from now on, older tokens under this name are refused.
local function fence(st, args, meta)
  check_fence(st, args)
  return { index = meta.index }
end

-- ---- keys ----------------------------------------------------------------------------------------

local function put(st, key, args, meta)
  if args.value == nil then
    reject("value is missing; to remove a key, delete it")
  end
  if args.fence ~= nil then
    check_fence(st, args.fence)
  end
  local entry, lease = st.keys[key], args.lease
  if entry and entry.lease ~= lease then
    detach(st, entry, key)
  end
  if lease ~= nil then
    attach(st, lease, key)
  end
  local index = meta.index
  st.keys[key] = { value = args.value, version = index, lease = lease }
end

local function set(st, args, meta)
  local key = args.key
  check_key(key)
  if args.if_version ~= nil then
    check_version(st.keys[key], args)
  end
  put(st, key, args, meta)
  return { version = meta.index, index = meta.index }
end

-- { prefix =, value =, lease = }: a new key after all others under the prefix, which ends in the
-- index of this entry as 16 hexadecimal digits. What queues are made of.
local function create(st, args, meta)
  if type(args.prefix) ~= "string" then
    reject("prefix must be a string, not a " .. type(args.prefix))
  end
  local key = args.prefix .. format("%016x", meta.index)
  check_key(key)
  if st.keys[key] then
    reject(format("there is a key '%s' already; a transaction creates one key under a prefix", key))
  end
  put(st, key, args, meta)
  return { key = key, version = meta.index, index = meta.index }
end

local function delete(st, args, meta)
  check_key(args.key)
  if args.fence ~= nil then
    check_fence(st, args.fence)
  end
  local keys = st.keys
  local entry = keys[args.key]
  check_version(entry, args)
  if entry then
    detach(st, entry, args.key)
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
  create = create,
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
      reject(format("operation %d must have op = set, create, delete, get or check", i))
    end
    results[i] = run(st, op, meta)
  end
  return { results = results, index = meta.index }
end

-- { prefix =, limit =, after = }: in order of keys, from the first one after `after`. `next` is there
-- when there is more, because of the limit or because the values are large: pass it as `after`. `index`
-- is that of the last entry that the answer knows of.
local function list(st, args, meta)
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
      return { items = items, next = items[count].key, index = meta.index }
    end
    count = count + 1
    items[count] = { key = key, value = entry.value, version = entry.version }
  end
  return { items = items, index = meta.index }
end

local function init(st)
  st.keys = {}
  st.leases, st.deadlines, st.attached, st.fences = {}, {}, {}, {}
  st.clock = { ms = 0, time_ms = 0, term = 0 }
end

return {
  name = "kv",
  version = 1,
  init = init,
  apply = {
    set = set,
    create = create,
    delete = delete,
    txn = txn,
    fence = fence,
    lease_grant = lease_grant,
    lease_keep = lease_keep,
    lease_revoke = lease_revoke,
    wake = wake_up,
  },
  query = { get = get, list = list, lease = lease_show },
  wake = wake,
}
