-- worker: programs that run on the leader and nowhere else, for as long as it leads. Settings, keys and
-- promises are in scripts/README.md; a smaller one of these is built step by step in lua/README.md.
--
-- Each is started again when it ends, after a pause that doubles with every failure. On a host where one of
-- them fails again and again, leadership is handed on: to a node where none was given up lately.
local mk = require "moonkeeper"

local HAND_OVER_MS = 5000 -- beyond what the programs need to stop

local settings = mk.config.declare {
  prefix = { type = "string", min = 1, default = "worker" },
  avoid_ms = { type = "integer", min = 0, default = 600000 },
  workers = { type = "table", required = true, min = 1, unique = "name", items = { type = "table", fields = {
    name = { type = "string", required = true, format = "name" },
    argv = { type = "table", required = true, min = 1, items = { type = "string" } },
    env = { type = "table", values = { type = "string" }, format = "environment" },
    cwd = { type = "string" },
    stop_signal = { type = "string", default = "TERM",
      one_of = { "TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "KILL" } },
    stop_ms = { type = "integer", min = 0, default = 5000 },
    restart_ms = { type = "integer", min = 1, default = 500 },
    restart_max_ms = { type = "integer", min = 1, default = 60000 },
    well_after_ms = { type = "integer", min = 1, default = 10000 },
    give_up_after = { type = "integer", min = 0, default = 5 },
  } } },
}

local me = mk.info().id
local longest_stop_ms = 0
for _, worker in ipairs(settings.workers) do
  longest_stop_ms = math.max(longest_stop_ms, worker.stop_ms)
end

-- Where workers were given up ------------------------------------------------------------------------

local function given_up_key(node) return settings.prefix .. "/given_up/" .. node end

-- A voter that is there, and on which no worker was given up lately.
local function find_better_node()
  for _, peer in ipairs(mk.raft.status().peers) do
    if peer.id ~= me and peer.voter and peer.online then
      local record, err = mk.kv.get(given_up_key(peer.id))
      if not record and not err then return peer.id end
      if record and mk.time.wall_ms() - record.at_ms >= settings.avoid_ms then return peer.id end
    end
  end
end

-- This host cannot run it. When the hand-over comes about, all that works for the leadership ends here, this
-- task too.
local function hand_on(lead, worker, why)
  mk.kv.set(given_up_key(me), { worker = worker.name, why = why, at_ms = mk.time.wall_ms() },
    { fence = lead.token })
  local other = find_better_node()
  if not other then
    mk.log.error("worker: it fails, and there is no better node", { worker = worker.name, why = why })
    return
  end
  mk.log.warn("worker: it fails here, handing leadership on", { worker = worker.name, why = why, to = other })
  local _, err = mk.raft.transfer_leadership(other, longest_stop_ms + HAND_OVER_MS)
  mk.log.warn("worker: leadership was not handed on", { err = tostring(err) })
end

-- One worker -----------------------------------------------------------------------------------------

-- Tell who looks: moonkeeper kv list worker/
local function tell(lead, worker, state)
  state.node, state.token, state.at_ms = me, lead.token, mk.time.wall_ms()
  mk.kv.set(settings.prefix .. "/workers/" .. worker.name, state, { fence = lead.token })
end

-- Run it to its end: how it ended, in words, and whether it had been well.
local function run(lead, worker)
  local process, err = mk.exec.spawn(worker.argv, { env = worker.env, cwd = worker.cwd,
    stop_signal = worker.stop_signal, stop_ms = worker.stop_ms })
  if not process then return tostring(err), false end
  mk.log.info("worker: started", { worker = worker.name, pid = process.pid, token = lead.token })
  tell(lead, worker, { state = "running", pid = process.pid })
  local ended = process:wait(worker.well_after_ms)
  local is_well = not ended
  if is_well then
    mk.kv.delete(given_up_key(me), { fence = lead.token })
    ended = process:wait()
  end
  return ended.signal and "it was killed by SIG" .. ended.signal or "it exited with " .. ended.code, is_well
end

local function supervise(lead, worker)
  local failures, pause_ms = 0, worker.restart_ms
  while true do
    local how, is_well = run(lead, worker)
    if is_well then failures, pause_ms = 0, worker.restart_ms end
    failures = failures + 1
    mk.log.warn("worker: " .. how, { worker = worker.name, failures = failures, again_in_ms = pause_ms })
    tell(lead, worker, { state = "waiting", how = how, failures = failures })
    if failures == worker.give_up_after then
      hand_on(lead, worker, how)
      failures = 0
    end
    mk.task.sleep(pause_ms)
    pause_ms = math.min(pause_ms * 2, worker.restart_max_ms)
  end
end

for _, worker in ipairs(settings.workers) do
  mk.while_leader("worker " .. worker.name, function(lead) supervise(lead, worker) end,
    { grace_ms = worker.stop_ms + 1000 })
end
