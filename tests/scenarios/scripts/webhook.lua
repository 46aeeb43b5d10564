-- webhook.lua: tell the team who leads (the example of the guide, in one hook)
local mk = require "moonkeeper"
mk.on("leader_elected", function(ev)
  mk.log.info("leader elected", { leader = ev.leader_id, term = ev.term })
  if not ev.is_self then return end
  for attempt = 1, 5 do
    local resp, err = mk.http.post(mk.config.get("webhook.url"), {
      body = mk.json.encode { event = ev.name, leader = ev.leader_id, term = ev.term },
      headers = { ["content-type"] = "application/json", ["idempotency-key"] = "elected-" .. ev.term },
      timeout_ms = 3000 })
    if resp and resp.status < 300 then return end
    mk.log.warn("webhook failed", { attempt = attempt, err = tostring(err or resp.status) })
    mk.task.sleep(200 << attempt)
  end
  error("webhook gave up for term " .. ev.term)
end, { name = "webhook", timeout_ms = 60000 })
