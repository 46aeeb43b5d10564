-- mk.kv.watch: what changes under a prefix, in order and without holes.
--
-- A commit hook sees every entry that is applied here, and what became of it; what there is to begin
-- with is read from this node's own state. An entry that the list already knew of is not told again. When
-- the entries cannot be followed (the log was compacted, a snapshot came, the reader is far behind),
-- the watch says so with a "gap" and begins anew with a list.
local core = require "moonkeeper.core"
local names = require "moonkeeper.names"
local raft = require "moonkeeper.raft"
local task = require "moonkeeper.task"

local QUEUE_MAX = 4096

local Watch = {}
Watch.__index = Watch
Watch.__name = "watch"

-- ---- what an entry changed -----------------------------------------------------------------------

local function deletions(watch, ev)
  for _, key in ipairs(ev.result.deleted) do
    watch:found { type = "delete", key = key, index = ev.index }
  end
end

local function put(watch, ev, args, result)
  watch:found {
    type = "set", key = result.key or args.key, value = args.value, version = ev.index, index = ev.index,
  }
end

local function delete(watch, ev, args, result)
  if result.deleted then watch:found { type = "delete", key = args.key, index = ev.index } end
end

local changes = {
  set = put, create = put, delete = delete,
  lease_grant = deletions, lease_keep = deletions, lease_revoke = deletions, wake = deletions,
}

function changes.txn(watch, ev, args, result)
  for i, op in ipairs(args.ops) do
    local change = changes[op.op]
    if change then change(watch, ev, op, result.results[i]) end
  end
end

-- ---- collecting ----------------------------------------------------------------------------------

function Watch:found(event)
  if self.lost or event.key:sub(1, #self.prefix) ~= self.prefix or self:is_listed(event) then return end
  if self.last - self.first >= self.room then
    self:lose()
    return
  end
  self.last = self.last + 1
  self.queue[self.last] = event
end

-- From here on it takes a list to know what there is, and the next entry may be any.
function Watch:lose()
  self.lost = true
  self.gap_index = self.next_index and self.next_index - 1 or self.gap_index
  self.next_index = nil
  self.queue, self.first, self.last = {}, 1, 0
  self.ready:set()
end

-- A list of several pages knows of later entries in its later pages.
function Watch:is_listed(event)
  local pages = self.pages
  if not pages then return false end
  for i = 1, #pages do
    if not pages[i].upto or event.key <= pages[i].upto then return event.index <= pages[i].index end
  end
  return false
end

function Watch:commit(ev)
  if self.lost then return end
  if self.next_index and ev.index ~= self.next_index then
    self:lose()
    return
  end
  self.next_index = ev.index + 1
  if ev.kind ~= "command" or ev.sm ~= "kv" then return end
  if ev.applied == nil then -- from before this node remembered results
    self:lose()
    return
  end
  local change = changes[ev.cmd]
  if ev.applied and change then
    change(self, ev, ev.args, ev.result)
    if self.last >= self.first then self.ready:set() end
  end
end

-- ---- telling -------------------------------------------------------------------------------------

-- All that there is, then "synced". Entries go on being collected meanwhile. False: try again.
function Watch:list()
  local pages, items, after = {}, {}, nil
  repeat
    local page = raft.query("kv", "list", { prefix = self.prefix, after = after, limit = 1000 },
      { read = "local" })
    if not page or self.lost then return false end
    table.move(page.items, 1, #page.items, #items + 1, items)
    after = page.next
    pages[#pages + 1] = { index = page.index, upto = after }
  until not after
  local collected, first, last = self.queue, self.first, self.last
  self.queue, self.first, self.last, self.pages = {}, 1, 0, pages
  for _, item in ipairs(items) do
    self.last = self.last + 1
    self.queue[self.last] = {
      type = "set", key = item.key, value = item.value, version = item.version, index = item.version,
    }
  end
  self.last = self.last + 1
  self.queue[self.last] = { type = "synced", index = pages[1].index }
  self.room = self.last + QUEUE_MAX -- a list of any length is no reason to begin anew
  for i = first, last do
    if not self:is_listed(collected[i]) then
      self.last = self.last + 1
      self.queue[self.last] = collected[i]
    end
  end
  return true
end

-- The next event; waits for it. With ms: nil and a timeout when there was none for so long.
function Watch:next(ms)
  local until_ms = core.until_ms(ms)
  while not self.closed do
    if self.lost then
      self.lost, self.pages, self.must_list, self.room = false, nil, true, QUEUE_MAX
      return { type = "gap", index = self.gap_index }
    end
    if self.must_list then
      self.must_list = not self:list()
      if self.must_list and not self.lost then -- a node that is still starting
        if until_ms and core.now_ms() >= until_ms then
          return nil, core.error("timeout", "the state of this node cannot be read yet")
        end
        task.sleep(100)
      end
    end
    if self.first <= self.last then
      local event = self.queue[self.first]
      self.queue[self.first] = nil
      self.first = self.first + 1
      return event
    end
    if not self.lost and not self.must_list then
      self.ready:clear()
      if not self.ready:wait(until_ms and math.max(0, until_ms - core.now_ms())) and until_ms then
        return nil, core.error("timeout", "nothing changed in time")
      end
    end
  end
end

Watch.__call = Watch.next

function Watch:close()
  if self.closed then return end
  self.closed = true
  self.ready:set()
  self.follower:cancel("the watch is closed")
end

Watch.__close = Watch.close

local function check(prefix, opts)
  if type(prefix) ~= "string" then error("a prefix is a string, got " .. type(prefix), 3) end
  names.check_options(opts, { initial = "boolean", from_index = true }, 3)
  local from = opts.from_index
  if from ~= nil and (math.type(from) ~= "integer" or from < 1) then
    error("from_index is an index of the log", 3)
  end
end

-- A task of its own has the hooks, so that they go with whoever watches.
local function follow(self, from_index)
  local hook = core.on("commit", function(ev) self:commit(ev) end, { from_index = from_index })
  local gap_hook = core.on("gap", function() self:lose() end)
  task.defer(function()
    self.closed = true
    hook:remove()
    gap_hook:remove()
    self.ready:set()
  end)
  self.following:set()
  task.event():wait()
end

local function watch(prefix, opts)
  opts = opts or {}
  check(prefix, opts)
  local self = setmetatable({
    prefix = prefix,
    queue = {}, first = 1, last = 0, room = QUEUE_MAX,
    gap_index = opts.from_index and opts.from_index - 1 or 0,
    ready = task.event(), following = task.event(),
    must_list = opts.initial and true or false,
    next_index = opts.from_index,
  }, Watch)
  self.follower = core.spawn(follow, self, opts.from_index)
  self.following:wait()
  return self, nil, nil, self
end

return watch
