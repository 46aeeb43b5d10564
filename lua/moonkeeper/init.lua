-- require "moonkeeper": what scripts see of their node. Described in lua/README.md, declared in
-- lua/moonkeeper/meta/moonkeeper.lua.
local core = require "moonkeeper.core"
local cluster = require "moonkeeper.cluster"
local config = require "moonkeeper.config"
local cron = require "moonkeeper.cron"
local exec = require "moonkeeper.exec"
local http = require "moonkeeper.http"
local kv = require "moonkeeper.kv"
local lease = require "moonkeeper.lease"
local lock = require "moonkeeper.lock"
local raft = require "moonkeeper.raft"
local sm = require "moonkeeper.sm"
local task = require "moonkeeper.task"
local timer = require "moonkeeper.timer"
require "moonkeeper.lead"

local mk = {
  on = core.on,
  hooks = core.hooks,
  emit = core.emit,
  while_leader = core.while_leader,
  info = core.info,
  on_reload = core.on_reload,
  saved = core.saved(),
  json = core.json,
  metrics = core.metrics,
  msgpack = core.msgpack,
  null = core.null,
  array = core.array,
  cluster = cluster,
  config = config,
  cron = cron,
  exec = exec,
  fs = core.fs,
  http = http,
  kv = kv,
  lease = lease,
  lock = lock,
  raft = raft,
  sm = sm,
  task = task,
  timer = timer,
  time = { now_ms = core.now_ms, wall_ms = core.wall_ms },
  log = {},
}

for _, level in ipairs { "debug", "info", "warn", "error" } do
  mk.log[level] = function(message, fields) core.log(level, message, fields) end
end

-- Stop the node as SIGTERM would: leadership is handed over, shutdown hooks run.
function mk.shutdown() core.tell("shutdown") end

-- What is planned says so, instead of "attempt to index a nil value".
local planned = {}
for _, name in ipairs { "net", "service" } do
  planned[name] = true
end

return setmetatable(mk, {
  __index = function(_, name)
    if planned[name] then
      error("mk." .. name .. " is not part of moonkeeper " .. core.info().version .. " yet", 2)
    end
  end,
})
