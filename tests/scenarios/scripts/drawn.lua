-- A user's script of which nobody has thought: config.source, drawn by lib/drawing.lua, in the words below.
-- Each is a function of mk as a user would call it; what it adds is for the world, which judges
-- (lib/drawn.lua): programs have all the locks and blocks around them in their arguments, events tell when
-- a lock was given, when a block was over, and when something was not as the guide has it.
--
-- Each word has `at` first, the place where it stands: { locks, blocks }, and the scope and the leadership
-- around it, if any.
local mk = require "moonkeeper"
local task = mk.task

local me = ("%s.%d"):format(mk.info().id, mk.time.wall_ms()) -- this generation of this run
local outside = { locks = "-", blocks = "-" }
local number = 0
local stopping, hooks = false, {}
local words = { pcall = pcall }

local function tell(what, payload) mk.emit("drawn." .. what, payload) end

local function wrong(...) tell("wrong", { text = table.concat({ ... }, " ") }) end

local function unique()
  number = number + 1
  return ("%s.%d"):format(me, number)
end

-- Errors that a script has to reckon with: its own, and those of the guide.
local expected = { not_leader = true, outcome_unknown = true, timeout = true, fenced = true, busy = true,
  unreachable = true, shutdown = true, cancelled = true, rejected = true, not_found = true, conflict = true }

local function is_expected(err)
  if type(err) == "string" then return err:find "drawn" ~= nil end
  local ok, code = pcall(function() return err.code end)
  return ok and expected[code] or false
end

local function check(where, err)
  if err ~= nil and not is_expected(err) then wrong(where, tostring(err)) end
end

-- Inside of another block, or holding another lock.
local function within(at, more)
  local function join(list, item) return not item and list or list == "-" and item or list .. "," .. item end
  return { locks = join(at.locks, more.lock), blocks = join(at.blocks, more.block),
    scope = more.scope or at.scope, lead = more.lead or at.lead }
end

-- Waits of each kind.
local waits = {
  checkpoint = task.checkpoint,
  sleep = function() task.sleep(0) end,
  event = function() task.event():wait(1) end,
  channel = function() task.channel(1):recv(1) end,
  join = function() task.spawn(function() end):join() end,
  scope = function() task.scope(function() end) end,
  get = function() mk.kv.get "drawn" end,
  lock = function() mk.lock.acquire("drawn", { timeout_ms = 1 }) end,
  with = function() mk.lock.with("drawn", { timeout_ms = 1 }, function() end) end,
  run = function() mk.exec.run { "quick", "-", "-" } end,
  call = function() mk.cluster.call("n1", "drawn", nil, 1) end,
}

local function is_cancelled() return not pcall(task.checkpoint) end

-- Cancelled once, it is told so by every wait from then on.
local function check_cancelled()
  for name, wait in pairs(waits) do
    if pcall(wait) then wrong("a task that was cancelled could wait:", name) end
  end
end

-- A block that is over when it returns, unless this task is not to wait for it any longer.
local function block(at, more, call)
  more.block = unique()
  local inner = within(at, more)
  if more.scope then inner.scope = inner end
  local results = table.pack(pcall(call, inner))
  tell("left", { block = more.block, cancelled = not results[1] and is_cancelled() })
  if not results[1] then error(results[2], 0) end
  check("in a block:", results[3])
  return results[2]
end

-- Tasks ---------------------------------------------------------------------------------------------

function words.sleep(_, ms) task.sleep(ms) end

function words.chance(_, percent) return math.random(100) <= percent end

function words.fail(_, name) error("drawn: " .. name, 0) end

function words.spin(_, count)
  local sum = 0
  for i = 1, count do sum = sum + i % 7 end
  return sum
end

function words.spawn(at, fn) return task.spawn(fn, at) end

function words.join(_, child, ms)
  local _, err = child:join(ms)
  check("join:", err)
end

function words.cancel(_, child) child:cancel() end

function words.defer(at, fn) task.defer(function() fn(at) end) end

function words.scope(at, fn)
  return block(at, { scope = true }, function(inner) return task.scope(fn, inner) end)
end

function words.map(at, count, limit, fn)
  local list = {}
  for i = 1, count do list[i] = i end
  return block(at, { scope = true }, function(inner)
    task.map(list, limit, function() fn(inner) end)
  end)
end

function words.within_ms(at, ms, fn)
  block(at, {}, function(inner) return task.with_timeout(ms, fn, inner) end)
end

-- Goes on after an error, and after its own cancellation if stubborn.
function words.try(at, stubborn, fn)
  local ok, err = pcall(fn, at)
  if ok then return end
  check("try:", err)
  if is_cancelled() then
    check_cancelled()
    if not stubborn then error(err, 0) end
  end
end

function words.in_coroutine(at, fn) coroutine.wrap(fn)(at) end

function words.event(at, after_ms, ms)
  local ready = task.event()
  task.spawn(function()
    task.sleep(after_ms)
    ready:set()
  end)
  words.sleep(at, ready:wait(ms) and 1 or 2)
end

function words.channel(_, count, capacity)
  local queue = task.channel(capacity)
  local sender = task.spawn(function()
    for i = 1, count do queue:send(i) end
  end)
  for i = 1, count do
    local value, err = queue:recv(2000)
    check("recv:", err)
    if value and value ~= i then wrong("a channel gave", tostring(value), "for", tostring(i)) end
  end
  sender:cancel()
end

-- Timers are of the scope or leadership they stand in, and work at its place; else of the application, which
-- has few at a time: they could be made faster than they end.
local pending = 0

local function take_place(at)
  if at.scope then return at.scope end
  if pending == 4 then return nil end
  pending = pending + 1
  return outside
end

local function leave_place(place)
  if place == outside then pending = pending - 1 end
end

-- So many calls.
function words.every(at, ms, count, fn)
  local place, timer = take_place(at), nil
  if not place then return end
  timer = mk.timer.every(ms, function()
    count = count - 1
    if count >= 0 then return fn(place) end
    leave_place(place)
    timer:cancel()
  end)
end

function words.after(at, ms, fn)
  local place = take_place(at)
  if not place then return end
  mk.timer.after(ms, function()
    task.defer(function() leave_place(place) end)
    fn(place)
  end)
end

-- Programs ------------------------------------------------------------------------------------------

function words.run(at, name, o)
  local _, err = mk.exec.run({ name, at.locks, at.blocks }, o)
  check("run:", err)
end

local none = { wait = function() end, stop = function() end, kill = function() end }

function words.start(at, name, o)
  local process, err = mk.exec.spawn({ name, at.locks, at.blocks }, o)
  check("spawn:", err)
  return process or none
end

-- Leases and locks ----------------------------------------------------------------------------------

local function write(name, fence, token)
  local id = unique()
  tell("writes", { id = id, fence = name, token = token })
  local done, err = mk.kv.set("out/" .. name, token, { fence = fence, timeout_ms = 2000 })
  check("write:", err)
  if done then tell("wrote", { id = id, fence = name, token = token }) end
end

-- late_ms: it writes once more then, as one that does not know that it holds it no longer.
local function write_late(name, fence, token, late_ms)
  if late_ms then
    task.spawn(function()
      task.sleep(late_ms)
      write(name, fence, token)
    end)
  end
end

function words.lock(at, name, o, late_ms, fn)
  local token
  block(at, {}, function(inner)
    return mk.lock.with(name, o, function(lock)
      token = lock.token
      tell("held", { lock = name, token = token })
      write(name, { name = name, token = token }, token)
      fn(within(inner, { lock = name .. ":" .. token }))
    end)
  end)
  if token then write_late(name, { name = name, token = token }, token, late_ms) end
end

-- Programs do not end with it: it counts for none.
function words.hold(at, name, o, fn)
  local lock <close>, err = mk.lock.acquire(name, o)
  check("acquire:", err)
  if lock then
    tell("held", { lock = name, token = lock.token })
    write(name, { name = name, token = lock.token }, lock.token)
    fn(at)
  end
end

function words.lease(at, ttl_ms, revoked, fn)
  local lease, err = mk.lease.grant(ttl_ms, { timeout_ms = 2000 })
  check("grant:", err)
  if not lease then return end
  local _, why = mk.kv.set("lease/" .. unique(), true, { lease = lease.id, timeout_ms = 1000 })
  check("set:", why)
  fn(at)
  if revoked then check("revoke:", select(2, lease:revoke())) end
end

-- The cluster ---------------------------------------------------------------------------------------

function words.call(_, to, topic, ms)
  local _, err = mk.cluster.call(to, topic, nil, ms)
  check("call:", err)
end

function words.tick() tell("tick") end

function words.hand_over(at)
  if at.lead then mk.raft.transfer_leadership(nil, 1000) end
end

function words.check(at)
  if at.lead then at.lead:check() end
end

function words.lead_spawn(at, fn)
  if at.lead then at.lead:spawn(fn, at.lead_at) end
end

-- What each script has at its top -------------------------------------------------------------------

-- Again and again, until the test says that it is enough.
function words.loop(pause_ms, fn)
  task.spawn(function()
    while not stopping do
      local _, err = task.spawn(fn, outside):join()
      check("loop:", err)
      task.sleep(pause_ms)
    end
  end)
end

function words.leader(name, o, fn)
  local runs = 0
  hooks[#hooks + 1] = mk.while_leader(name, function(lead)
    runs = runs + 1
    local holder = ("%s:%d.%s.%d"):format(name, lead.token, me, runs)
    tell("leads", { lock = name, token = lead.token })
    write(name, lead.token, lead.token)
    local at = { locks = holder, blocks = "-", lead = lead }
    at.scope, at.lead_at = at, at
    fn(at)
  end, o)
end

function words.handler(topic, fn)
  mk.cluster.handle(topic, function() fn(outside) end)
end

function words.hook(o, fn)
  hooks[#hooks + 1] = mk.on("drawn.tick", function() fn(outside) end, o)
end

mk.on("drawn.stop", function()
  stopping = true
  for _, hook in ipairs(hooks) do hook:remove() end
end)

assert(load(mk.config.get "source", "=drawn", "t", words))()
