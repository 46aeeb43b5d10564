-- tasks: work for whichever node has room for it. Settings, keys and promises are in scripts/README.md.
--
-- A task is one key, tasks/task/ID, which holds all there is to know about it:
--
--   queued -> assigned -> running -> done, failed, cancelled     (or queued again: moved, retried)
--
-- The controller, on the leader, assigns (tasks/controller.lua does what tasks/plan.lua decides). The runner,
-- on every node, runs what is assigned to its node (tasks/runner.lua; tasks/attempt.lua is one attempt, which
-- has a number and one node). Both go by the log, tasks/record.lua, and by the settings, tasks/kinds.lua.
--
-- Here are the settings, what this node offers, and the watch that tells both what the log has.
local mk = require "moonkeeper"
local control = require "tasks.controller"
local kinds = require "tasks.kinds"
local record = require "tasks.record"
local runner = require "tasks.runner"
local tables = require "tasks.tables"

local settings = mk.config.declare {
  prefix = { type = "string", min = 1, default = "tasks" },
  slots = { type = "integer", min = 1, default = 4 },
  nodes = { type = "table", default = {}, values = { type = "table", fields = {
    slots = { type = "integer", min = 0 },
    labels = { type = "table", default = {}, items = { type = "string" } },
  } } },
  kinds = { type = "table", default = {}, values = kinds.rule },
  handlers_dir = { type = "string" },
  retry_ms = { type = "integer", min = 0, default = 1000 },
  move_after_ms = { type = "integer", min = 0, default = 2000 },
  rebalance_ms = { type = "integer", min = 100, default = 30000 },
  lock_ms = { type = "integer", min = 500, default = 5000 },
  stop_ms = { type = "integer", min = 0, default = 5000 },
  history = { type = "integer", min = 0, max = 10000, default = 1000 },
}
kinds.load(settings)

local AGAIN_MS = 500 -- after a command that failed
local me = mk.info().id
local task_prefix, node_prefix = settings.prefix .. "/task/", settings.prefix .. "/node/"

-- What this node knows of the cluster.
local known = {
  book = record.book(task_prefix),
  offers = {},     -- by node: { slots, labels, kinds }
  away_since = {}, -- by node: when it was told to be offline
  changed = mk.task.event(),
}
local own = runner.new(settings, known.book)

mk.while_leader("tasks", function(lead)
  mk.raft.barrier()
  lead:on("member_removed", function(ev)
    mk.kv.delete(node_prefix .. ev.id, { fence = lead.token })
  end)
  mk.log.info("tasks: the tasks are given out from here", { token = lead.token })
  control(lead, settings, known)
end)

mk.on("node_offline", function(ev)
  known.away_since[ev.id] = mk.time.now_ms()
  known.changed:set()
end, { replay = true })

mk.on("node_online", function(ev)
  known.away_since[ev.id] = nil
  known.changed:set()
end, { replay = true })

-- A planned stop.
mk.on("shutdown", function()
  own:close()
  if known.offers[me] then
    mk.kv.set(node_prefix .. me, tables.with(known.offers[me], { slots = 0 }), { timeout_ms = 1000 })
  end
  own:give_all_back()
end, { timeout_ms = settings.stop_ms + 2000 })

-- Say what this node has to offer, until it stops.
local function announce()
  local node = settings.nodes[me] or {}
  local offer = {
    slots = node.slots or settings.slots,
    labels = mk.array(node.labels or {}),
    kinds = mk.array(tables.sorted_keys(settings.kinds)),
  }
  local there = known.offers[me]
  if there and mk.json.encode(there) == mk.json.encode(offer) then return end
  while not own.stopping and not mk.kv.set(node_prefix .. me, offer) do mk.task.sleep(AGAIN_MS) end
end

-- Again when the log has another offer: the last one of the process before, or a person's.
local offer_heard = mk.task.event()

local function keep_announced()
  while true do
    offer_heard:clear()
    announce()
    offer_heard:wait()
  end
end

local function take(ev)
  local prefix, id = ev.key:match "^(.*/)([^/]*)$"
  if prefix == node_prefix then
    known.offers[id] = ev.type == "set" and record.is_offer(ev.value) and ev.value or nil
    if id == me then offer_heard:set() end
  elseif prefix ~= task_prefix then
    return
  elseif ev.type == "set" then
    known.book:learn(id, ev.value, ev.version)
  else
    known.book:forget(id, ev.index)
  end
  if known.book.by_id[id] then own:look_after(id) end
  known.changed:set()
end

mk.task.spawn(function()
  local announcer
  for ev in mk.kv.watch(settings.prefix .. "/", { initial = true }) do
    if ev.type == "synced" then
      if not announcer then announcer = mk.task.spawn(keep_announced) end
      offer_heard:set()
    elseif ev.type == "gap" then
      known.book:forget_all()
      known.offers = {}
    else
      take(ev)
    end
  end
end)
