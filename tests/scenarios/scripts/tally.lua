-- A script that brings its state machine along, and uses it on the leader.
local mk = require "moonkeeper"

mk.while_leader("tally", function()
  local missing, err = mk.sm.load "no_such_file.sm.lua"
  assert(not missing and err.code == "not_found", "a file that is not there is not_found")
  local tally = assert(mk.sm.load "tally.sm.lua")
  assert(tally.name == "tally" and tally.version == 1)
  assert(tally:propose("add", { name = "terms", by = 1 }))
  local _, refused = tally:propose("add", { name = "terms", by = "x" })
  assert(refused.code == "rejected")
  mk.kv.set("terms", assert(tally:query("get", { name = "terms" })))
end)
