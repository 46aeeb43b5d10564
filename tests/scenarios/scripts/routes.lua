-- Paths of all kinds, for tests/scenarios/routes.lua.
local mk = require "moonkeeper"

mk.http.route("GET", "/hello/:name", function(req)
  return { body = ("hello %s, %s"):format(req.params.name, req.query.from or "nobody") }
end)

mk.http.route("GET", "/hello/world", function() return { body = "the world itself" } end)

mk.http.route("POST", "/echo/*rest", function(req)
  return { status = 201, headers = { ["content-type"] = "application/json", ["x-method"] = req.method,
    ["set-cookie"] = { "a=1", "b=2" } },
    body = mk.json.encode { path = req.path, rest = req.params.rest, agent = req.headers["x-agent"] } }
end)

mk.http.route("*", "/any", function(req) return { body = req.method } end)
mk.http.route("PUT", "/any", function() return { body = "put" } end)

mk.http.route("GET", "/slow", function(req)
  mk.task.sleep(tonumber(req.query.ms))
  return {}
end, { timeout_ms = 300 })

mk.http.route("GET", "/raise", function() error "no luck" end)
mk.http.route("GET", "/spin", function() while true do end end) -- luacheck: ignore
mk.http.route("GET", "/nothing", function() end)
mk.http.route("GET", "/split", function() return { headers = { a = "b\r\nc: d" } } end)
mk.http.route("GET", "/kvset", function(req)
  local done, err = mk.kv.set("seen", req.query.value)
  return { status = done and 200 or 503, body = err and tostring(err) or "" }
end)

mk.http.route("GET", "/own", function() return {} end, { other_pages = false })
mk.http.route("POST", "/others", function() return {} end, { other_pages = true })

local gone = mk.http.route("GET", "/gone", function() return {} end)
mk.http.route("POST", "/remove", function()
  gone:remove()
  return { status = 204 }
end)
