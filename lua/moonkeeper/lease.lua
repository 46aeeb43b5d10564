-- mk.lease: keys that go when nobody keeps them.
--
-- A lease lives in the replicated kv machine, which ends it when the leader's clock has advanced by
-- its whole time since it was last kept; across a change of leaders that clock stands still. The owner
-- counts from before it asked, and stops nine tenths of the way: clocks that differ in rate by less than
-- a tenth cannot make it believe longer than the cluster does.
local core = require "moonkeeper.core"
local names = require "moonkeeper.names"
local options = require "moonkeeper.options"
local raft = require "moonkeeper.raft"
local task = require "moonkeeper.task"

local lease = {}

local Lease = {}
Lease.__index = Lease
Lease.__name = "lease"

local function sure_ms(ttl_ms) return ttl_ms - ttl_ms // 10 end

function Lease:remaining_ms()
  return self.over and 0 or math.max(0, self.until_ms - core.now_ms())
end

-- Whether it holds for sure: never true again once it was false.
function Lease:valid()
  if not self.over and core.now_ms() >= self.until_ms then self:finish() end
  return not self.over
end

function Lease:finish()
  self.over = true
  self.ended:set()
end

-- Wait until it is not valid any more: true, or false when ms are over first.
function Lease:wait_end(ms) return self.ended:wait(ms) end

-- When it, or one of those that it was taken under, is not known to be valid any more.
function Lease:bound_ms()
  return self.outer and math.min(self.until_ms, self.outer:bound_ms()) or self.until_ms
end

local function hold(process) core.process_hold(process.handle, process.lease:bound_ms()) end

-- An attempt to keep it may take a third of its time; one that failed is soon made again.
local function keep_once(self)
  local asked_ms = core.now_ms()
  local kept = raft.propose("kv", "lease_keep", { id = self.id },
    { timeout_ms = math.min(self.ttl_ms // 3, self:remaining_ms()) })
  if kept and kept.ended then
    self:finish()
  elseif kept then
    self.until_ms = asked_ms + sure_ms(self.ttl_ms)
    for _, process in ipairs(self.processes) do hold(process) end
  end
  return kept and self.ttl_ms // 3 or math.max(10, self.ttl_ms // 30)
end

-- Nobody's child: while the owner unwinds, and stops what works under the lease, it is still kept. After that
-- it runs out, for whoever waits for its end.
local function keep(self)
  local pause_ms = self.ttl_ms // 3
  while self:valid() do
    task.sleep(math.max(1, math.min(pause_ms, self:remaining_ms())))
    if not self:valid() then return end
    pause_ms = self.owner:done() and self.ttl_ms or keep_once(self)
  end
end

local function remember(self, process)
  local running = { process }
  for _, other in ipairs(self.processes) do
    if not other.ended.is_set then running[#running + 1] = other end
  end
  self.processes = running
end

-- A process that has been started under it is killed when it, or one of those that it was taken under, is not
-- known to be valid any more; by the node's guardian, so that it does not matter what has become of the node.
function Lease:extend(process)
  process.lease = self
  local at = self
  while at do
    remember(at, process)
    at = at.outer
  end
  hold(process)
end

-- From now on it is kept as long as the present task runs, and counts for nothing without the lease outer.
function Lease:adopt(outer) self.owner, self.outer = core.current(), outer end

-- End it now: its keys go.
function Lease:revoke()
  self:finish()
  self.keeper:cancel("the lease is revoked")
  local revoked, err = raft.propose("kv", "lease_revoke", { id = self.id })
  if not revoked then return nil, err end
  return true
end

-- Where waiting is not possible (a task that was cancelled), it is told and not waited for.
function Lease:__close()
  if self.over then return end
  self:finish()
  self.keeper:cancel("the lease is closed")
  core.tell("propose", "kv", "lease_revoke", { id = self.id }, {})
end

-- A lease of ttl_ms, kept by the task that asks for it, as long as it runs.
function lease.grant(ttl_ms, opts)
  if math.type(ttl_ms) ~= "integer" then error("grant(ttl_ms): a time in ms, an integer", 2) end
  names.check_options(opts, options.proposing, 2)
  local asked_ms = core.now_ms()
  local granted, err = raft.propose("kv", "lease_grant", { ttl_ms = ttl_ms }, opts)
  if not granted then return nil, err end
  local self = setmetatable({
    id = granted.id,
    ttl_ms = ttl_ms,
    until_ms = asked_ms + sure_ms(ttl_ms),
    ended = task.event(),
    processes = {},
    owner = core.current(),
  }, Lease)
  self.keeper = core.spawn_lasting(keep, self)
  return self
end

-- What the cluster says of a lease: {id, ttl_ms, remaining_ms, keys}, or nil.
function lease.get(id, opts)
  names.check_options(opts, options.reading, 2)
  local found, err = raft.query("kv", "lease", { id = id }, opts)
  if type(found) ~= "table" then return nil, err end
  return found
end

return lease
