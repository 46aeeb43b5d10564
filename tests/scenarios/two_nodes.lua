-- two_nodes.lua: a survivor of two campaigns, never leads, and wins when the other returns
local t = require "moonkeeper.test"
t.it("a lone survivor of two never leads; rejoin elects", function(mode)
  local c <close> = t.cluster { n = 2, mode = mode, prevote = false }
  c:start()
  local old = c:wait_leader(3000)
  t.ok(c:propose("kv", "set", { key = "x", value = 1 }))
  local survivor, mark = c:node(3 - old.id), c:now_ms()
  local term0 = survivor:term()
  c:crash(old.id)
  c:run_for(3000)
  t.gt(#c:events { name = "election_started", node = survivor.id, since_ms = mark }, 5)
  t.eq(#c:events { name = "leader_elected", since_ms = mark }, 0)
  t.err("not_leader", survivor:propose("kv", "set", { key = "x", value = 2 }, { timeout_ms = 500 }))
  c:restart(old.id)
  t.gt(c:wait_leader(3000):term(), term0 + 5)
  c:check()
end, { modes = { "sim", "real" }, seeds = 100 })
