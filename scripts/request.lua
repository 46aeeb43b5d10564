-- request: HTTP requests to any node are stored by all of them. POST (or GET) /req?age=1 is answered with 200
-- once a majority has it on disk: from then on no failure of fewer nodes than that loses it. Settings, keys
-- and promises are in scripts/README.md.
local mk = require "moonkeeper"

local settings = mk.config.declare {
  prefix = { type = "string", min = 1, default = "request" },
  path = { type = "string", default = "/req", check = function(path)
    if path:sub(1, 1) ~= "/" then return "it must begin with a slash" end
  end },
  methods = { type = "table", min = 1, default = { "GET", "POST" },
    items = { type = "string", one_of = { "GET", "POST", "PUT", "PATCH" } } },
  timeout_ms = { type = "integer", min = 1, default = 2000 },
  keep = { type = "integer", min = 1 },
}

local STORED = settings.prefix .. "/stored/"
local NAMED = settings.prefix .. "/named/"
local BATCH = 100 -- keys that one command deletes

local function answer(status, value)
  return { status = status, headers = { ["content-type"] = "application/json" },
    body = mk.json.encode(value) .. "\n" }
end

local function refusal(status, code, message)
  return answer(status, { error = { code = code, message = message } })
end

local function is_same(a, b)
  for name, text in pairs(a.query) do
    if b.query[name] ~= text then return false end
  end
  for name in pairs(b.query) do
    if a.query[name] == nil then return false end
  end
  return a.method == b.method and a.body == b.body
end

-- Who sends an idempotency-key may ask again: the second time the key is there, and nothing is stored twice.
local function store_named(key, value)
  local until_ms = mk.time.now_ms() + settings.timeout_ms
  local done, err = mk.kv.set(key, value, { if_version = 0, timeout_ms = settings.timeout_ms })
  if done then return { key = key } end
  if err.code ~= "conflict" then return nil, err end
  local there, why = mk.kv.get(key, { timeout_ms = math.max(1, until_ms - mk.time.now_ms()) })
  if type(there) == "table" and is_same(there, value) then return { key = key } end
  return nil, type(why) == "table" and why or err
end

-- One command, which a follower forwards to the leader by itself.
local function store(req, name)
  local value = { method = req.method, query = req.query, body = req.body, node = mk.info().id }
  if name then return store_named(NAMED .. name, value) end
  return mk.kv.create(STORED, value, { timeout_ms = settings.timeout_ms })
end

local function take(req)
  if req.method == "HEAD" then return refusal(405, "invalid", "HEAD stores nothing: use GET or POST") end
  local name = req.headers["idempotency-key"]
  if name and (#name > 255 or not name:find "^[!-~]+$") then
    return refusal(400, "invalid", "an idempotency-key has 1 to 255 signs of ASCII, and no space")
  end
  local stored, err = store(req, name)
  if stored then return answer(200, { ok = true, key = stored.key }) end
  if err.code == "outcome_unknown" or err.code == "timeout" then
    return refusal(504, "outcome_unknown",
      "there was no answer in time: it may be stored or not; ask again with the same idempotency-key")
  elseif err.code == "not_leader" then
    return refusal(503, err.code, "there is no leader: fewer than a majority of the nodes are in touch")
  elseif err.code == "conflict" then
    return refusal(409, err.code, "another request was stored under this idempotency-key")
  elseif err.code == "rejected" or err.code == "too_large" then
    return refusal(err.code == "rejected" and 422 or 413, err.code, err.message)
  end
  return refusal(503, err.code, err.message)
end

for _, method in ipairs(settings.methods) do
  mk.http.route(method, settings.path, take,
    { timeout_ms = settings.timeout_ms + 1000, other_pages = false }) -- each stores something, GET too
end

-- Where `keep` says how many: the leader drops the oldest. A page at a time, for bodies may be large; what
-- fails is tried again the next time.
local function to_drop()
  local ops, after = {}, nil
  repeat
    local page = mk.raft.query("kv", "list", { prefix = STORED, after = after, limit = 1000 })
    if not page then return ops, 0 end
    for _, item in ipairs(page.items) do ops[#ops + 1] = { op = "delete", key = item.key } end
    after = page.next ~= mk.null and page.next or nil
  until not after
  return ops, #ops - settings.keep
end

if settings.keep then
  mk.while_leader("request", function(lead)
    while true do
      local ops, count = to_drop()
      for i = 1, count, BATCH do
        mk.kv.txn(table.move(ops, i, math.min(i + BATCH - 1, count), 1, {}), { fence = lead.token })
      end
      mk.task.sleep(10000)
    end
  end)
end
