-- The script of a first user: the node that is elected says so to a webhook, and tries again.
local t = require "moonkeeper.test"
local mk = require "moonkeeper"

local URL = "http://hooks.example/team"

local function cluster(mode)
  return t.cluster { n = 3, mode = mode, scripts = { "tests/scenarios/scripts/webhook.lua" },
    config = { webhook = { url = URL } } }
end

local function elections(c)
  local told = {}
  for i, request in ipairs(c:http_requests(URL)) do
    told[i] = mk.json.decode(request.body)
    t.eq(request.headers["idempotency-key"], "elected-" .. told[i].term)
    t.eq(request.headers["content-type"], "application/json")
    t.eq(told[i].leader, "n" .. request.node, "who is elected says so")
  end
  return told
end

t.describe("webhook.lua", function()
  t.it("tells each election once, when the hook takes it", function(mode)
    local c <close> = cluster(mode)
    c:http_server(URL, { status = 204, latency_ms = { 1, 20 } })
    c:start()
    for round = 1, 2 do
      local leader = c:wait_leader()
      c:run_until(function() return #elections(c) == round end, 10000, "it is told")
      t.eq(elections(c)[round].term, leader:term())
      if round == 1 then c:crash(leader.id) end
    end
  end, { modes = { "sim", "real" }, seeds = 10 })

  t.it("tries again, longer and longer, and gives up with an error", function(mode)
    local c <close> = cluster(mode)
    c:http_server(URL, { status = { 500, 200 } })
    c:start()
    c:wait_leader()
    c:run_until(function() return #elections(c) == 2 end, 10000, "the second attempt")
    t.eq(elections(c)[1], elections(c)[2])
    if mode == "sim" then
      c:http_server(URL, { down = true })
      c:crash(c:leader().id)
      c:run_for(20000)
      local errors = c:events { name = "error" }
      t.eq(#errors, 1)
      t.match(errors[1].message, "webhook gave up for term")
    end
  end, { modes = { "sim", "real" }, seeds = 3 })
end)
