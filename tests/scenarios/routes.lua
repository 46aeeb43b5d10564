-- mk.http.route: requests to a node that its scripts answer.
local t = require "moonkeeper.test"
local mk = require "moonkeeper"

local function cluster(mode, n)
  local c = t.cluster { n = n or 1, mode = mode, scripts = { "tests/scenarios/scripts/routes.lua" } }
  c:start()
  c:wait_leader()
  return c, c:node(1)
end

t.describe("a route", function()
  t.it("is found by path and method, and answers", function(mode)
    local c <close>, node = cluster(mode)
    c:run_until(function() return node:http("GET", "/any").status == 200 end, 5000)
    t.eq(node:http("GET", "/hello/you?from=me+and%20you&from=x").body, "hello you, me and you")
    t.eq(node:http("GET", "/hello/world").body, "the world itself")
    t.eq(node:http("GET", "/hello/a%62c").body, "hello abc, nobody")
    local r = node:http("POST", "/echo/a/b//c?d=e", '{"x":1}', { headers = { ["X-Agent"] = "me" } })
    t.eq(r.status, 201)
    t.eq(r.headers["content-type"], "application/json")
    t.eq(r.headers["x-method"], "POST")
    t.eq(r.headers["set-cookie"], "a=1, b=2")
    t.match(r.body, '"rest":"a/b//c"')
    t.match(r.body, '"agent":"me"')
    t.eq(node:http("DELETE", "/any").body, "DELETE")
    t.eq(node:http("PUT", "/any").body, "put")
    t.eq(node:http("HEAD", "/hello/you").status, 200)
  end)

  t.it("that does not exist, fails, spins or sleeps is answered in words", function(mode)
    local c <close>, node = cluster(mode)
    c:run_until(function() return node:http("GET", "/any").status == 200 end, 5000)
    for path, expected in pairs {
      ["/hello"] = { 404, "not_found" }, ["/hello/"] = { 404, "not_found" },
      ["/hello/a/b"] = { 404, "not_found" },
      ["/echo/x"] = { 405, "invalid" }, ["/raise"] = { 500, "io" }, ["/nothing"] = { 500, "io" },
      ["/split"] = { 500, "io" }, ["/spin"] = { 500, "processor time" },
      ["/slow?ms=5000"] = { 504, "timeout" },
    } do
      local r = node:http("GET", path)
      t.eq(r.status, expected[1], path)
      t.match(r.body, '^{"error":{"code":"')
      t.match(r.body, expected[2], path)
    end
    t.eq(node:http("GET", "/slow?ms=50").status, 200)
    t.eq(node:http("GET", "/hello/you").body, "hello you, nobody")
  end)

  t.it("can wait for the cluster, and can be removed", function(mode)
    local c <close>, node = cluster(mode, 3)
    c:run_until(function() return node:http("GET", "/any").status == 200 end, 5000)
    t.eq(node:http("GET", "/kvset?value=a%20b").status, 200)
    t.eq(t.ok(c:query("kv", "get", { key = "seen" })).value, "a b")
    t.eq(node:http("GET", "/gone").status, 200)
    t.eq(node:http("POST", "/remove").status, 204)
    t.eq(node:http("GET", "/gone").status, 404)
  end)

  t.it("that the node, or another script, answers already is refused when it is made", function(mode)
    local _ <close>, node = cluster(mode)
    for path, why in pairs {
      ["/status"] = "the node answers /status itself", ["/kv/mine"] = "the node answers /kv/mine itself",
      ["/"] = "the node answers / itself", ["/any"] = "application 'routes' answers %* /any",
      ["any"] = "a path begins with a slash", ["/:"] = "is followed by a name",
      ["/*a/b"] = "all that follows",
    } do
      local r, err = node:eval("local r = mk.http.route('*', ..., function() end) return r", path)
      t.err("rejected", r, err)
      t.match(err.message, why, path)
      t.match(err.message, "eval:1: ", "it is the line of the script that is named")
    end
    t.ok(node:eval "mk.http.route('GET', '/:all', function() return { body = 'rest' } end) return true")
    t.eq(node:http("GET", "/unknown").body, "rest")
  end)

  t.it("of a node that does not run is unreachable", function(mode)
    local c <close>, node = cluster(mode)
    c:run_until(function() return node:http("GET", "/any").status == 200 end, 5000)
    c:crash(1)
    t.err("unreachable", node:http("GET", "/any"))
    c:restart(1)
    c:run_until(function()
      local r = node:http("GET", "/any")
      return r and r.status == 200
    end, 5000)
  end)
end)

t.describe("routes", function()
  t.it("go with their application", function(mode)
    local c <close>, node = cluster(mode)
    c:run_until(function() return node:http("GET", "/any").status == 200 end, 5000)
    t.ok(c:reload(1, { scripts = { "tests/scenarios/scripts/webhook.lua" } }))
    t.eq(node:http("GET", "/any").status, 404)
    t.ok(c:reload(1, { scripts = { "tests/scenarios/scripts/routes.lua" } }))
    t.eq(node:http("GET", "/any").status, 200)
  end)
end)

t.describe("too many requests", function()
  t.it("are refused, and those that came first are answered", function()
    local c <close>, node = cluster("sim")
    c:run_until(function() return node:http("GET", "/any").status == 200 end, 5000)
    local answers, tasks = {}, {}
    for i = 1, 300 do
      tasks[i] = mk.task.spawn(function()
        local r = node:http("GET", "/slow?ms=200")
        local kind = r and r.status or "refused"
        answers[kind] = (answers[kind] or 0) + 1
      end)
    end
    for _, task in ipairs(tasks) do task:join() end
    t.eq(answers, { [200] = 256, refused = 44 })
    t.eq(node:http("GET", "/any").status, 200)
  end, { modes = { "sim" } })
end)

t.describe("a web page", function()
  t.it("of somebody else cannot write", function(mode)
    local c <close>, node = cluster(mode)
    c:run_until(function() return node:http("GET", "/any").status == 200 end, 5000)
    local from = { headers = { Origin = "http://evil.example" } }
    t.eq(node:http("POST", "/echo/x", "", from).status, 403)
    t.eq(node:http("GET", "/any", "", from).status, 200)
    if mode == "real" then t.eq(node:http("GET", "/status").status, 200) end
    local image = { headers = { ["Sec-Fetch-Site"] = "cross-site" } }
    t.eq(node:http("POST", "/echo/x", "", image).status, 403)
    t.eq(node:http("GET", "/any", "", image).status, 200)
    t.eq(node:http("GET", "/own", "", image).status, 403)
    t.eq(node:http("GET", "/own", "", { headers = { ["Sec-Fetch-Site"] = "same-origin" } }).status, 200)
    t.eq(node:http("POST", "/others", "", from).status, 200)
  end, { modes = { "sim", "real" } })
end)
