-- HTTP: what scripts ask of servers elsewhere. The world tells what was received, not the scripts.
local t = require "moonkeeper.test"

local HOOK = "http://hook.example/elected"

local ASK = [[
  local url, o = ...
  o.url = url
  local r, err = mk.http.request(o)
  return r or false, err and tostring(err) or ""
]]

t.describe("a request", function()
  t.it("is received as it was made, and its answer is returned", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode }
    c:http_server("http://hook.example/",
      { status = 201, body = "made\n", headers = { ["X-Made"] = "here" } })
    c:start()
    local node = c:wait_leader()
    local r = node:eval(ASK, HOOK .. "?a=1", { method = "POST", body = "b\0dy",
      headers = { ["content-type"] = "text/plain", Accept = { "a", "b" } } })
    t.eq(r.status, 201)
    t.eq(r.body, "made\n")
    t.eq(r.headers["x-made"], "here")
    local all = c:http_requests()
    t.eq(#all, 1)
    t.eq({ all[1].node, all[1].method, all[1].url, all[1].body, all[1].status, all[1].answered },
      { 1, "POST", HOOK .. "?a=1", "b\0dy", 201, true })
    t.eq(all[1].headers["content-type"], "text/plain")
    t.eq(c:http_requests "http://hook.example/other", {})
  end)

  t.it("that is not answered fails in time, in words", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode }
    c:http_server(HOOK, { status = { 500, 200 }, latency_ms = 1 })
    c:http_server("http://slow.example/", { latency_ms = 3000 })
    c:http_server("http://down.example/", { down = true })
    c:http_server("http://cut.example/", { refuses = { 1 } })
    c:http_server("http://big.example/", { body = ("x"):rep(1000) })
    c:start()
    local node = c:wait_leader()
    t.eq(node:eval(ASK, HOOK, {}).status, 500)
    t.eq(node:eval(ASK, HOOK, {}).status, 200)
    t.eq(node:eval(ASK, HOOK, {}).status, 200)
    local began = c:now_ms()
    t.match(select(2, node:eval(ASK, "http://slow.example/", { timeout_ms = 200 })), "^timeout: ")
    t.ge(c:now_ms() - began, 199)
    t.lt(c:now_ms() - began, 1500)
    for _, host in ipairs { "down", "cut", "none" } do
      t.match(select(2, node:eval(ASK, ("http://%s.example/"):format(host), {})), "^unreachable: ")
    end
    t.match(select(2, node:eval(ASK, "http://big.example/", { max_body = 999 })), "^too_large: ")
    t.eq(#node:eval(ASK, "http://big.example/", { max_body = 1000 }).body, 1000)
    t.match(select(2, node:eval(ASK, "hook.example", {})), "^invalid: .* begins neither with http://")
    for message, o in pairs {
      ["the value of a has a line break"] = { headers = { a = "b\r\nc: d" } },
      ["a header's name is a word"] = { headers = { ["a:"] = "b" } },
      ["there is no option 'methd'"] = { methd = "GET" },
      ["invalid option 'FETCH'"] = { method = "FETCH" },
    } do
      local r, err = node:eval(ASK, HOOK, o)
      t.err("rejected", r, err)
      t.match(err.message, message)
    end
  end)

  t.it("ends with the task that made it", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode }
    c:http_server("http://slow.example/", { latency_ms = { 1000, 1000 } })
    c:start()
    local node = c:wait_leader()
    t.eq(node:eval [[
      local r, err = mk.task.with_timeout(50, function() return mk.http.get "http://slow.example/" end)
      return err.code ]], "timeout")
    c:run_for(1500)
    for _, request in ipairs(c:http_requests()) do t.eq(request.answered, false) end
  end)
end)

t.describe("a node that dies in the middle of a request", function()
  t.it("may or may not have been heard: both are drawn", function()
    local heard, deaf = 0, 0
    for seed = 1, 40 do
      local c <close> = t.cluster { n = 1, seed = seed }
      c:http_server(HOOK, { latency_ms = { 10, 20 } })
      c:start()
      local node = c:wait_leader()
      t.ok(node:eval([[ local url = ...
        mk.task.spawn(function() mk.http.get(url) end)
        return true ]], HOOK))
      c:run_for(math.random(0, 9))
      c:crash(1)
      c:run_for(100)
      local all = c:http_requests()
      if all[1] then
        heard = heard + 1
        t.eq(all[1].answered, false)
      else
        deaf = deaf + 1
      end
    end
    t.gt(heard, 3)
    t.gt(deaf, 3)
  end, { modes = { "sim" } })
end)

t.describe("a server that fails", function()
  t.it("fails in every way, and what is answered was received", function()
    local c <close> = t.cluster { n = 1 }
    c:http_server(HOOK, { fails = 0.7, latency_ms = { 1, 5 } })
    c:start()
    local node = c:wait_leader()
    local seen, ok = {}, 0
    for _ = 1, 200 do
      local r, err = node:eval(ASK, HOOK, { timeout_ms = 50 })
      local kind = r and r.status or err:match "^(%w+):"
      seen[kind] = (seen[kind] or 0) + 1
      ok = ok + (r and 1 or 0)
    end
    for _, kind in ipairs { 200, 503, "unreachable", "timeout" } do t.gt(seen[kind] or 0, 10) end
    local received, answered = 0, 0
    for _, request in ipairs(c:http_requests()) do
      received = received + 1
      answered = answered + (request.answered and 1 or 0)
    end
    t.eq(answered, ok)
    t.gt(received, answered)
    t.lt(received, 200)
  end, { modes = { "sim" }, seeds = 3 })
end)
