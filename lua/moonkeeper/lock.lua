-- mk.lock: one holder in the whole cluster, in the order of asking.
--
-- Who wants lock NAME creates the key lock/NAME/<index> under a lease of its own; the lowest key holds
-- it, and its index is the fencing token. A waiter watches only until all before it are gone.
local core = require "moonkeeper.core"
local held_under = require "moonkeeper.held_under"
local lease = require "moonkeeper.lease"
local names = require "moonkeeper.names"
local raft = require "moonkeeper.raft"
local task = require "moonkeeper.task"
local watch = require "moonkeeper.watch"

local TTL_MS = 10000

local lock = {}

local Lock = {}
Lock.__index = Lock
Lock.__name = "lock"

-- Whether it is held for sure: never true again once it was false.
function Lock:valid() return self.lease:valid() end

function Lock:remaining_ms() return self.lease:remaining_ms() end

-- Give it back: the next one has it.
function Lock:release() return self.lease:revoke() end

function Lock:__close() self.lease:__close() end

local known = { ttl_ms = "number", timeout_ms = "number" }

local function check(name, opts, level)
  if type(name) ~= "string" or name == "" then error("a lock's name is a string", level + 1) end
  names.check_options(opts, known, level + 1)
  if opts.ttl_ms and math.type(opts.ttl_ms) ~= "integer" then
    error("ttl_ms is a time in ms, an integer", level + 1)
  end
end

-- The keys of those that ask for this lock; of a lock "a/b" those of "a" look alike up to their length.
local function is_ticket(key, prefix) return #key == #prefix + 16 end

-- Wait until no ticket before ours is left. True, or nil and why not.
local function wait_turn(held, prefix, until_ms)
  local changes <close> = watch(prefix, { initial = true })
  local before, count, synced = {}, 0, false
  while held:valid() do
    local left = until_ms and math.max(0, until_ms - core.now_ms()) or nil
    local ev, err = changes:next(left and math.min(left, held:remaining_ms()) or held:remaining_ms())
    if not ev and left and core.now_ms() >= until_ms then
      if not synced then return nil, err end -- who holds it could not be seen
      return nil, core.error("timeout", "the lock " .. held.name .. " was not free in time")
    end
    if ev and ev.type == "gap" then
      before, count, synced = {}, 0, false
    elseif ev and ev.type == "synced" then
      synced = true
    elseif ev and is_ticket(ev.key, prefix) and ev.key < held.key then
      local there = ev.type == "set"
      if there ~= (before[ev.key] or false) then
        before[ev.key] = there or nil
        count = count + (there and 1 or -1)
      end
    end
    if synced and count == 0 and held:valid() then return true end
  end
  return nil, core.error("fenced", "the lease of the lock ran out while waiting for it")
end

-- Closes a lock, unless it has been passed on by then: an attempt that is cancelled or fails must not
-- leave its ticket, for others wait behind it.
local Attempt = {
  __close = function(attempt)
    if not attempt.passed_on then attempt.lock:__close() end
  end,
}

-- Wait for a lock and hold it, until it is released, the task ends, or the node loses touch with the
-- cluster for longer than ttl_ms. timeout_ms: how long to wait; without it, for ever.
function lock.acquire(name, opts)
  opts = opts or {}
  check(name, opts, 2)
  local until_ms = opts.timeout_ms and core.now_ms() + opts.timeout_ms
  local prefix = "lock/" .. name .. "/"
  local function limits() return { timeout_ms = until_ms and math.max(0, until_ms - core.now_ms()) } end
  local its, err = lease.grant(opts.ttl_ms or TTL_MS, limits())
  if not its then return nil, err end
  local held = setmetatable({ name = name, lease = its }, Lock)
  local attempt <close> = setmetatable({ lock = held }, Attempt)
  local ticket
  ticket, err = raft.propose("kv", "create", {
    prefix = prefix, value = core.info().id, lease = its.id,
  }, limits())
  if ticket then
    held.key, held.token = ticket.key, ticket.index
    local won, why = wait_turn(held, prefix, until_ms)
    if won then
      attempt.passed_on = true
      return held
    end
    err = why
  end
  return nil, err
end

-- Run fn(lock) while holding it: what fn returns; nil and an error when there was no lock to have, or it was
-- lost, in which case fn has been cancelled. However fn ends, the lock is given back when the tasks that it
-- spawned have ended, and the processes that it and they ran.
function lock.with(name, opts, fn)
  if fn == nil then opts, fn = {}, opts end
  check(name, opts or {}, 2)
  if type(fn) ~= "function" then error("with(name, opts, fn): fn is a function, not a " .. type(fn), 2) end
  local held, err = lock.acquire(name, opts)
  if not held then return nil, err end
  local attempt <close> = setmetatable({ lock = held }, Attempt)
  local lost, ended = false, false -- whichever comes first
  local work = core.spawn(function()
    attempt.passed_on = true
    held.lease:adopt(core.nearest(held_under))
    held_under[core.current()] = held.lease
    task.defer(function()
      core.cancel_children("the lock is given back")
      core.join_children() -- what they have started ends with them
      held:__close()
    end)
    local results = table.pack(pcall(fn, held))
    ended = true
    if not results[1] then error(results[2], 0) end
    return table.unpack(results, 2, results.n)
  end)
  local guard = core.spawn(function()
    held.lease:wait_end()
    lost = not ended
    work:cancel("the lock is lost")
  end)
  local results = table.pack(work:join())
  guard:cancel("the work is done")
  if core.failed(work) then
    if lost then return nil, core.error("fenced", "the lock " .. name .. " was lost") end
    error(results[2], 0)
  end
  return table.unpack(results, 1, results.n)
end

return lock
