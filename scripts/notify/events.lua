-- The events that can be told: what each is called in the log, and what is said of it.
local mk = require "moonkeeper"

local me = mk.info().id

local events = {}

events.kinds = { "leader_elected", "term_change", "quorum_lost", "quorum_regained", "member_added",
  "member_promoted", "member_removed" }

local function of_term(ev) return ev.term end
local function of_entry(ev) return ev.index end
local function of_this_node(ev) return ("%d-%s-%d"):format(ev.term, me, ev.time_ms) end

-- The same on all nodes that hear of it.
local ids = { leader_elected = of_term, term_change = of_term, quorum_lost = of_this_node,
  quorum_regained = of_this_node, member_added = of_entry, member_promoted = of_entry,
  member_removed = of_entry }

local texts = {
  leader_elected = function(ev) return ("%s leads in term %d"):format(ev.leader_id, ev.term) end,
  term_change = function(ev) return ("term %d has begun, after %d"):format(ev.term, ev.old_term) end,
  quorum_lost = function(ev)
    return ("%s reaches %d of the %d nodes that are a majority"):format(me, ev.reachable, ev.needed)
  end,
  quorum_regained = function() return ("%s is in touch with a majority again"):format(me) end,
  member_added = function(ev) return ("%s was added"):format(ev.id) end,
  member_promoted = function(ev) return ("%s votes now"):format(ev.id) end,
  member_removed = function(ev) return ("%s was removed"):format(ev.id) end,
}

local FIELDS = { "leader_id", "old_term", "reachable", "needed", "id", "index" }

-- Of an event of mk.on: what is put into the log of it.
function events.describe(ev)
  local about = {}
  for _, name in ipairs(FIELDS) do about[name] = ev[name] end
  return { id = ev.name .. "-" .. ids[ev.name](ev), event = ev.name, text = texts[ev.name](ev),
    term = ev.term, about = about, heard_by = me, heard_ms = mk.time.wall_ms(), state = "pending" }
end

return events
