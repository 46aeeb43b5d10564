-- mk.http: requests to servers elsewhere, and paths that this node answers.
local core = require "moonkeeper.core"
local names = require "moonkeeper.names"

local http = {}

local TIMEOUT_MS = 10000
local BODY_MAX = 1 << 20
local ROUTE_TIMEOUT_MS = 30000
local methods = { ["*"] = true, GET = true, HEAD = true, POST = true, PUT = true, DELETE = true,
  OPTIONS = true, PATCH = true }

local options = { method = "string", url = "string", headers = "table", body = "string",
  timeout_ms = "number", max_body = "number" }

local function check_options(o, level)
  if type(o) ~= "table" then error("a table of options is expected, got " .. type(o), level + 1) end
  names.check_options(o, options, level + 1)
  if not o.url then error("url is missing", level + 1) end
end

-- { ["content-type"] = "text/plain", accept = { "a", "b" } } as a list: a name, a value, a name, ... A header
-- may have several values.
local function to_list(headers, level)
  local given, list = {}, {}
  for name in pairs(headers or {}) do
    if type(name) ~= "string" then error("headers: names are strings", level + 1) end
    given[#given + 1] = name
  end
  table.sort(given)
  for _, name in ipairs(given) do
    local values = headers[name]
    if type(values) ~= "table" then values = { values } end
    for _, value in ipairs(values) do
      if type(value) ~= "string" and type(value) ~= "number" then
        error(("headers: the value of %s is a %s, not a string"):format(name, type(value)), level + 1)
      end
      if tostring(value):find "[\0-\8\10-\31\127]" then
        local message = "headers: the value of %s has a line break or another control character"
        error(message:format(name), level + 1)
      end
      list[#list + 1] = name
      list[#list + 1] = tostring(value)
    end
  end
  return list
end

-- Names in lower case; what came several times is one value, with commas in between.
local function to_table(list)
  local headers = {}
  for i = 1, #list, 2 do
    local name = list[i]:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. list[i + 1] or list[i + 1]
  end
  return headers
end

local function request(o, method)
  check_options(o, 3)
  local answer, err = core.http_request(method, o.url, to_list(o.headers, 3), o.body or "",
    math.ceil(o.timeout_ms or TIMEOUT_MS), o.max_body or BODY_MAX)
  if not answer then return nil, err end
  return { status = answer[1], headers = to_table(answer[2]), body = answer[3] }
end

-- {status, headers, body}, whatever the status is; nil and the reason if no answer came.
-- o: url, method ("GET"), headers, body, timeout_ms (10000), max_body (1 MiB)
function http.request(o)
  return request(o, type(o) == "table" and o.method or "GET")
end

local function with_method(method)
  return function(url, o)
    local given = {}
    if o ~= nil and type(o) ~= "table" then error("a table of options is expected, got " .. type(o), 2) end
    for name, value in pairs(o or {}) do given[name] = value end
    if given.method then error("method is for mk.http.request", 2) end
    given.url = url
    return request(given, method)
  end
end

-- Routes ------------------------------------------------------------------------------------------

local function decode(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- "a=1&b" -> { a = "1", b = "" }. Of what comes several times the first counts.
local function parse_query(text)
  local query = {}
  for name, value in text:gmatch "([^&=]+)=?([^&]*)" do
    name = decode(name)
    if query[name] == nil then query[name] = decode(value) end
  end
  return query
end

-- What a handler has returned, as core takes it: status, headers, body.
local function respond(answer)
  if type(answer) ~= "table" then
    error("a route's function returns { status, headers, body }, not " .. type(answer), 0)
  end
  if answer.body ~= nil and type(answer.body) ~= "string" then
    error(("a route's body is a string, not a %s; mk.json.encode makes one"):format(type(answer.body)), 0)
  end
  return answer.status or 200, to_list(answer.headers, 1), answer.body or ""
end

local Route = {}
Route.__index = Route
Route.__name = "route"

-- The path is not answered any more.
function Route:remove() core.http_unroute(self.id) end

-- Have requests to this node answered: fn(request) -> { status, headers, body }, a task for each. path:
-- "/a/:name" has one segment for :name, "/a/*rest" all that follows: request.params. method "*": any.
-- o: timeout_ms (30000; then 504), other_pages: are requests let in that a browser makes for other web pages?
-- (GET and HEAD are, unless false is said; others are not, unless true is.)
function http.route(method, path, fn, o)
  names.check_options(o, { timeout_ms = "number", other_pages = true }, 2)
  if not methods[method] then
    error(("a method is \"GET\", \"POST\", ..., or \"*\" for any, not %s"):format(tostring(method)), 2)
  end
  if type(path) ~= "string" then error("a path is a string, got " .. type(path), 2) end
  if type(fn) ~= "function" then error("a route needs a function, got " .. type(fn), 2) end
  local id, refused = core.http_route(method, path, function(req)
    req.query, req.headers = parse_query(req.query), to_table(req.headers)
    return respond(fn(req))
  end, math.ceil(o and o.timeout_ms or ROUTE_TIMEOUT_MS), o and o.other_pages)
  if not id then error(refused, 2) end
  return setmetatable({ id = id }, Route)
end

http.get = with_method "GET"
http.post = with_method "POST"

return http
