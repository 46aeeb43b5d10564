-- scripts/request.lua in chaos: what was answered with OK is on every node in the end, and nothing is there
-- twice.
local t = require "moonkeeper.test"
local mk = require "moonkeeper"
local chaos = require "lib.chaos"

t.describe("an HTTP request to any node, in chaos", function()
  t.it("that was answered with OK is never lost, and none is stored twice", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode, scripts = { "bundled:request" } }
    c:start()
    c:wait_leader()
    local stored, sent, running = {}, 0, true
    local clients = {}
    for id = 1, 3 do
      clients[id] = mk.task.spawn(function()
        while running do
          sent = sent + 1
          local age = sent
          local r = c:node(id):http("POST", "/req?age=" .. age, "x", { timeout_ms = 4000 })
          if r and r.status == 200 then stored[age] = true end
          mk.task.sleep(math.random(1, 300))
        end
      end)
    end
    chaos.run(c, { seconds = 30 })
    running = false
    for _, client in ipairs(clients) do client:join() end
    c:run_until(function() return c:node(1):http("GET", "/req?age=0").status == 200 end, 20000)
    local oks = 0
    for _ in pairs(stored) do oks = oks + 1 end
    t.gt(oks, 20)
    local last = c:leader():commit_index()
    for _, node in ipairs(c:nodes()) do
      c:run_until(function() return (node:last_applied() or 0) >= last end, 20000, "all is applied")
      local found, after = {}, nil
      repeat
        local page = t.ok(node:query("kv", "list",
          { prefix = "request/stored/", after = after, limit = 1000 }, { read = "local" }))
        for _, item in ipairs(page.items) do
          local age = tonumber(item.value.query.age)
          t.ok(not found[age], ("request %d is stored twice on %s"):format(age, node))
          found[age] = true
        end
        after = page.next
      until after == nil or after == mk.null
      for age in pairs(stored) do
        t.ok(found[age], ("request %d was OK and %s does not have it"):format(age, node))
      end
    end
  end, { modes = { "sim" }, seeds = 4, timeout_ms = 300000 })
end)
