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
local names = require "moonkeeper.names"
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

for name, part in pairs(mk) do
  if type(part) == "table" and name ~= "saved" and not getmetatable(part) then
    names.strict(part, "mk." .. name)
  end
end

local planned = { net = true, service = true }

return setmetatable(mk, {
  __index = function(_, name)
    if planned[name] then
      error("mk." .. name .. " is not part of moonkeeper " .. core.info().version .. " yet", 2)
    elseif name ~= "saved" then -- which is nil in a first generation
      names.absent(mk, "mk", name, 2)
    end
  end,
})
