-- What this node hears of, on its way into the log.
local mk = require "moonkeeper"
local events = require "notify.events"
local receiver = require "notify.receiver"

local hearing = {}

-- Until it is in the log. The leader is first, as a rule: others give it a moment. What is below the
-- watermark was in the log once: a node that comes back hears of members anew.
local function record(settings, keys, event)
  if not mk.raft.is_leader() then mk.task.sleep(math.random(20, 60)) end
  while not mk.kv.get(keys.events .. event.id, { read = "local" }) do
    local trimmed, err = mk.kv.get(keys.trimmed)
    local number = event.about.index or event.term
    if trimmed and number <= (event.about.index and trimmed.index or trimmed.term) then return end
    if trimmed or not err then
      local _, why = mk.kv.set(keys.events .. event.id, event, { if_version = 0 })
      if not why or why.code == "conflict" then return end
    end
    mk.task.sleep(settings.retry_ms)
  end
end

-- Who has lost the quorum cannot put anything into the log, and tells of that at once: when there is a
-- quorum again, it is too late for it. Again and again, until it is accepted or a leader is there to tell it.
-- Returns whether it was accepted.
local function tell_now(settings, event)
  local pause_ms = settings.retry_ms
  while true do
    local accepted, why = receiver.send(settings, event, 0)
    if accepted then return true end
    mk.log.warn("notify: not accepted", { id = event.id, why = why, again_ms = pause_ms })
    mk.task.sleep(pause_ms)
    if (mk.raft.status().leader_id or "") ~= "" then return false end
    pause_ms = math.min(pause_ms * 2, settings.retry_max_ms)
  end
end

-- Events of the settings go into the log from now on. keys: events (a prefix) and trimmed.
function hearing.start(settings, keys)
  local heard, urgent = mk.task.channel(1000), mk.task.channel(10)
  for _, name in ipairs(settings.events) do
    local replay = name == "leader_elected" or name == "term_change" or nil
    -- What was heard before may have to wait for the quorum.
    local to = name == "quorum_lost" and urgent or heard
    mk.on(name, function(ev) to:send(events.describe(ev)) end, { name = "notify", replay = replay })
  end
  mk.task.spawn(function()
    local told_ms = -settings.window_ms
    while true do
      local event = urgent:recv()
      local is_due = mk.time.now_ms() - told_ms >= settings.window_ms -- once in a window
      if is_due and tell_now(settings, event) then
        told_ms, event.state, event.over_ms = mk.time.now_ms(), "accepted", mk.time.wall_ms()
      end
      heard:send(event)
    end
  end)
  mk.task.spawn(function()
    while true do record(settings, keys, heard:recv()) end
  end)
end

return hearing
