-- request: HTTP requests to any node are stored by all of them. GET or POST /req?age=1 is answered with 200
-- once a majority has it on disk: from then on no failure of fewer nodes than that loses it. Settings, keys
-- and promises are in scripts/README.md.
local mk = require "moonkeeper"

local settings = mk.config.declare {
  prefix = { type = "string", default = "request" },
  path = { type = "string", default = "/req" },
  timeout_ms = { type = "integer", min = 1, default = 2000 },
  keep = { type = "integer", min = 1 },
}

local STORED = settings.prefix .. "/stored/"
local NAMED = settings.prefix .. "/named/"

local function answer(status, value)
  return { status = status, headers = { ["content-type"] = "application/json" },
    body = mk.json.encode(value) .. "\n" }
end

local function refusal(status, code, message)
  return answer(status, { error = { code = code, message = message } })
end

-- One command, which a follower forwards to the leader by itself. Who sends an idempotency-key may ask again:
-- the second time the key is there, and nothing is stored twice.
local function store(req)
  local value = { method = req.method, query = req.query, body = req.body, node = mk.info().id }
  local name, opts = req.headers["idempotency-key"], { timeout_ms = settings.timeout_ms }
  if not name then return mk.kv.create(STORED, value, opts) end
  opts.if_version = 0
  local done, err = mk.kv.set(NAMED .. name, value, opts)
  if err and err.code == "conflict" then return { key = NAMED .. name } end
  return done and { key = NAMED .. name }, err
end

local function take(req)
  local stored, err = store(req)
  if stored then return answer(200, { ok = true, key = stored.key }) end
  if err.code == "outcome_unknown" or err.code == "timeout" then
    return refusal(504, "outcome_unknown",
      "there was no answer in time: it may be stored or not; ask again with the same idempotency-key")
  elseif err.code == "not_leader" then
    return refusal(503, err.code, "there is no leader: fewer than a majority of the nodes are in touch")
  elseif err.code == "rejected" or err.code == "too_large" then
    return refusal(err.code == "rejected" and 422 or 413, err.code, err.message)
  end
  return refusal(503, err.code, err.message)
end

for _, method in ipairs { "GET", "POST" } do
  mk.http.route(method, settings.path, take, { timeout_ms = settings.timeout_ms + 1000 })
end

-- Where `keep` says how many: the leader drops the oldest.
if settings.keep then
  mk.while_leader("request", function(lead)
    while true do
      local items = mk.kv.list(STORED) or {}
      for i = 1, #items - settings.keep do
        mk.kv.delete(items[i].key, { if_version = items[i].version, fence = lead.token })
      end
      mk.task.sleep(10000)
    end
  end)
end
