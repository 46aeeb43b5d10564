-- What `moonkeeper demo` (and ./do demo) runs on each of its three nodes: it says which hooks fire where,
-- and does a small piece of work on the leader, and only there.
local mk = require "moonkeeper"
local me = mk.info().id

mk.on("leader_elected", function(ev)
  mk.log.info(ev.is_self and "hook leader_elected: it is me" or "hook leader_elected: I follow",
    { leader = ev.leader_id, term = ev.term })
end)

mk.on("leader_ready", function(ev)
  mk.log.info("hook leader_ready: I may act now", { term = ev.term, token = ev.token })
end)

mk.on("leader_lost", function(ev)
  mk.log.info("hook leader_lost", { leader = ev.last_leader_id, reason = ev.reason })
end)

-- A node that comes back hears of all commits again, from the beginning; here only news is told.
mk.on("commit", function(ev)
  local is_news = mk.time.wall_ms() - ev.time_ms < 1000
  if is_news and ev.kind == "command" and ev.cmd == "set" and ev.args.key ~= "demo/heartbeat" then
    mk.log.info("hook commit", { index = ev.index, key = ev.args.key, value = tostring(ev.args.value) })
  end
end)

mk.on("shutdown", function()
  mk.log.info("hook shutdown: goodbye")
end)

-- Starts on the leader once it is ready, and is over before its lease can end.
mk.while_leader("heartbeat", function(lead)
  mk.log.info("while_leader: working here, and nowhere else", { token = lead.token })
  while true do
    mk.kv.set("demo/heartbeat", { node = me, term = lead.term })
    mk.task.sleep(500)
  end
end)
