-- scripts/request.lua: an HTTP request to any node is stored by all of them (scenario A4).
local t = require "moonkeeper.test"

local function cluster(mode, config)
  local c = t.cluster { n = 3, mode = mode,
    scripts = { { name = "request", script = "bundled:request", config = config or {} } } }
  c:start()
  local leader = c:wait_leader()
  for _, node in ipairs(c:nodes()) do
    c:run_until(function() return node:http("POST", "/nobody").status == 404 end, 5000) -- its scripts run
  end
  return c, leader
end

-- What a node has by itself, whatever the others say.
local function has(node, key)
  local found = node:query("kv", "get", { key = key }, { read = "local" })
  return type(found) == "table" and found.value or nil
end

local function send(node, method, age, opts)
  local r = node:http(method, "/req?age=" .. age, method == "POST" and "body" or nil, opts)
  return r, r and r.status == 200 and r.body:match '"key":"([^"]+)"'
end

t.describe("a request to any node", function()
  t.it("is OK once a majority has it, and then every node has it", function(mode)
    local c <close> = cluster(mode)
    for id = 1, 3 do
      for _, method in ipairs { "GET", "POST" } do
        local r, key = send(c:node(id), method, id)
        t.eq(r.status, 200)
        local index, at = tonumber(key:match "%x+$", 16), 0
        for _, node in ipairs(c:nodes()) do at = at + (node:last_index() >= index and 1 or 0) end
        t.ge(at, 2, "nodes that have it as it is answered")
        for _, node in ipairs(c:nodes()) do
          c:run_until(function() return has(node, key) end, 5000, "every node has it")
          t.eq(has(node, key).query.age, tostring(id))
          t.eq(has(node, key).method, method)
        end
      end
    end
  end, { modes = { "sim", "real" }, seeds = 25 })

  t.it("is refused where a browser makes it for another page, or by other methods", function(mode)
    local c <close> = cluster(mode, { methods = { "GET", "PUT" } })
    local node = c:node(math.random(3))
    local function status(method, headers)
      return node:http(method, "/req", "", { headers = headers }).status
    end
    for _, method in ipairs { "GET", "PUT" } do
      t.eq(status(method, { ["Sec-Fetch-Site"] = "cross-site" }), 403)
      t.eq(status(method, { Origin = "http://evil.example" }), 403)
      t.eq(status(method, { ["Sec-Fetch-Site"] = "none" }), 200)
      t.eq(status(method), 200)
    end
    t.eq(status("POST"), 405)
    t.eq(status("HEAD"), 405)
    t.eq(#t.ok(c:query("kv", "list", { prefix = "request/stored/", limit = 100 })).items, 4)
  end, { modes = { "sim", "real" } })

  t.it("that was OK survives the node that answered it", function(mode)
    local c <close> = cluster(mode)
    local id = math.random(3)
    local r, key = send(c:node(id), "POST", 7)
    t.eq(r.status, 200)
    c:crash(id, { host = mode == "sim" })
    local leader = c:wait_leader(10000, { among = { id % 3 + 1, (id + 1) % 3 + 1 } })
    t.eq(t.ok(leader:query("kv", "get", { key = key })).value.query.age, "7")
  end, { modes = { "sim", "real" }, seeds = 25 })

  t.it("is refused with the reason, and in time, where there is no leader", function(mode)
    local c <close>, leader = cluster(mode, { timeout_ms = 1000 })
    c:crash(leader.id)
    c:crash(leader.id % 3 + 1)
    local survivor = c:node((leader.id + 1) % 3 + 1)
    c:run_until(function() return not survivor:leader() end, 5000, "it knows no leader")
    local began_ms = c:now_ms()
    local r = send(survivor, "GET", 1)
    t.eq(r.status, 503)
    t.match(r.body, '"code":"not_leader"')
    t.match(r.body, "there is no leader")
    t.le(c:now_ms() - began_ms, 2000)
    c:restart(leader.id)
    c:run_until(function() return send(survivor, "GET", 2).status == 200 end, 10000, "a majority is back")
  end, { modes = { "sim", "real" }, seeds = 10 })

  t.it("with an idempotency-key is stored once, however often it is sent", function(mode)
    local c <close> = cluster(mode)
    local opts = { headers = { ["Idempotency-Key"] = "order-17" } }
    for i = 1, 4 do
      local r, key = send(c:node(i % 3 + 1), "POST", 1, opts)
      t.eq(r.status, 200)
      t.eq(key, "request/named/order-17")
    end
    t.eq(t.ok(c:query("kv", "get", { key = "request/named/order-17" })).value.query.age, "1")
  end, { modes = { "sim", "real" }, seeds = 5 })

  t.it("is not OK under the idempotency-key of another, nor under one that is none", function(mode)
    local c <close> = cluster(mode)
    local opts = { headers = { ["Idempotency-Key"] = "order-17" } }
    t.eq(send(c:node(1), "POST", 1, opts).status, 200)
    local r = send(c:node(2), "POST", 2, opts)
    t.eq(r.status, 409)
    t.match(r.body, "another request was stored under this idempotency%-key")
    for _, name in ipairs { "\xff\xfe", "a b", ("x"):rep(256) } do
      t.eq(send(c:node(1), "POST", 1, { headers = { ["Idempotency-Key"] = name } }).status, 400)
    end
    t.eq(#t.ok(c:query("kv", "list", { prefix = "request/" })).items, 1, "nothing else was stored")
  end, { modes = { "sim" }, seeds = 3 })

  t.it("goes when there are more than are kept", function(mode)
    local c <close> = cluster(mode, { keep = 5 })
    for i = 1, 12 do t.eq(send(c:node(1), "GET", i).status, 200) end
    c:run_until(function()
      local items = t.ok(c:query("kv", "list", { prefix = "request/stored/" })).items
      return #items == 5 and items[1].value.query.age == "8"
    end, 30000, "the newest five are left")
  end, { modes = { "sim" } })
end)

t.describe("settings that make no sense", function()
  t.it("are told in one sentence that names the key, and the node runs on", function()
    for message, settings in pairs {
      ["config: path: it must begin with a slash"] = { path = "req" },
      ["config: timeout_ms must be integer"] = { timeout_ms = "2s" },
      ["did you mean 'keep'"] = { kep = 3 },
    } do
      local c <close> = t.cluster { n = 1,
        scripts = { { name = "request", script = "bundled:request", config = settings } } }
      c:start()
      c:wait_leader()
      t.ok(c:propose("kv", "set", { key = "x", value = 1 }))
      t.match(c:events({ name = "error" })[1].message, message)
    end
  end, { modes = { "sim" } })
end)
