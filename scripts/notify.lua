-- notify: what happens to the cluster is told to a webhook or to a program: elections, terms, the quorum,
-- members. Settings, keys and promises are in scripts/README.md.
--
-- Every node puts what it hears of into the log, under a key that all of them agree on: whoever is first
-- counts. The leader tells it on, and puts into the log that it was accepted:
--
--   pending -> accepted            the receiver has it
--           -> summed              it is part of a summary, which is an event of its own
--           -> given_up            nobody accepted it for give_up_ms
--
-- Here are the settings, and how the leader tells. notify/hearing.lua puts into the log what
-- notify/events.lua has words for; notify/book.lua is what the log has; notify/receiver.lua sends it.
local mk = require "moonkeeper"
local book = require "notify.book"
local events = require "notify.events"
local hearing = require "notify.hearing"
local receiver = require "notify.receiver"

local settings = mk.config.declare {
  prefix = { type = "string", min = 1, default = "notify" },
  url = { type = "string", check = receiver.check_url },
  headers = { type = "table", values = { type = "string" }, check = receiver.check_headers },
  argv = { type = "table", min = 1, items = { type = "string" } },
  events = { type = "table", min = 1, default = events.kinds,
    items = { type = "string", one_of = events.kinds } },
  timeout_ms = { type = "integer", min = 1, default = 10000 },
  retry_ms = { type = "integer", min = 1, default = 1000 },
  retry_max_ms = { type = "integer", min = 1, default = 60000 },
  give_up_ms = { type = "integer", min = 1, default = 24 * 3600 * 1000 },
  most = { type = "integer", min = 1, default = 10 },
  window_ms = { type = "integer", min = 1, default = 60000 },
  keep = { type = "integer", min = 1, max = 10000, default = 500 },
}
if (settings.url == nil) == (settings.argv == nil) then
  error("config: either url (a webhook) or argv (a program) is needed, and not both", 0)
end
if settings.keep < settings.most then error("config: keep must be at least as much as most", 0) end

local keys = { events = settings.prefix .. "/events/", trimmed = settings.prefix .. "/trimmed" }
hearing.start(settings, keys)

-- Ids of what somebody accepted from this node, and is not in the log yet. A leader whose lease lapses in
-- between, and who leads on in the same term, must not send it again.
local accepted_here = mk.saved or {}
local is_saved = false -- what is accepted from now on is news to the generation that takes over

mk.on_reload(function()
  is_saved = true
  return accepted_here
end)

-- What was told to a hook after that waits for the one that takes its place.
mk.on("notify.accepted", function(ev)
  if ev.payload.prefix == settings.prefix then accepted_here[ev.payload.id] = true end
end, { name = "notify" })

local Teller = {}
Teller.__index = Teller

function Teller:close_accepted(item)
  if not self.book:close(item, "accepted") then return end
  accepted_here[item.value.id] = nil
  mk.log.info("notify: told", { id = item.value.id, text = item.value.text })
end

-- Returns how long to wait before the next.
function Teller:tell(item)
  local event = item.value
  local accepted, why = receiver.send(settings, event, self.lead.token)
  accepted_here[event.id] = accepted or nil
  if accepted and is_saved then mk.emit("notify.accepted", { prefix = settings.prefix, id = event.id }) end
  self.lead:check()
  if accepted then
    self.retry_ms = settings.retry_ms
    self:close_accepted(item)
    return 0
  elseif mk.time.now_ms() - item.since_ms > settings.give_up_ms then
    mk.log.error("notify: given up", { id = event.id, why = why })
    self.book:close(item, "given_up")
    return 0
  end
  local wait_ms = self.retry_ms
  mk.log.warn("notify: not accepted", { id = event.id, why = why, again_ms = wait_ms })
  self.retry_ms = math.min(wait_ms * 2, settings.retry_max_ms)
  return wait_ms
end

-- Tell the oldest. Returns how long to wait before the next; nil: there is none.
function Teller:step()
  local pending, over = self.book:sorted()
  for _, item in ipairs(pending) do
    if accepted_here[item.value.id] then
      self:close_accepted(item)
      return 0
    end
  end
  self.book:trim(over)
  if #pending == 0 then return nil end
  local wait_ms, held = self.book:budget_ms(over), self.held
  self.held = wait_ms > 0
  if self.held then return wait_ms end
  if held and #pending > 1 then
    self.book:sum_up(pending)
    return 0
  end
  return self:tell(pending[1])
end

mk.while_leader("notify", function(lead)
  local changed = mk.task.event()
  local teller = setmetatable({ lead = lead, book = book.new(lead, settings, keys),
    retry_ms = settings.retry_ms,
    held = false, -- as many were told as may be: what waits now is summed up
  }, Teller)
  -- What this node proposed before its lease lapsed counts.
  teller.book:barrier()
  lead:spawn(function()
    teller.book:follow(changed, function()
      for id in pairs(accepted_here) do
        if not teller.book:is_pending(id) then accepted_here[id] = nil end
      end
    end)
  end)
  while true do
    changed:wait()
    changed:clear()
    while teller.book.synced do
      local wait_ms = teller:step()
      if not wait_ms then break end
      mk.task.sleep(wait_ms)
    end
  end
end)
