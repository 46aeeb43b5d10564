-- mk.raft: the node's part in the cluster.
local core = require "moonkeeper.core"
local names = require "moonkeeper.names"
local options = require "moonkeeper.options"
local task = require "moonkeeper.task"

local raft = {
  status = core.status,
  is_leader = core.is_leader,
}

local function check_ms(ms)
  if ms ~= nil and (type(ms) ~= "number" or ms < 0) then
    error("a time in ms expected, got " .. tostring(ms), 3)
  end
  return ms and math.floor(ms)
end

-- What a command goes through: proposed here or forwarded to the leader, committed, applied.
function raft.propose(sm, cmd, args, opts)
  if type(sm) ~= "string" or type(cmd) ~= "string" then
    error("propose(sm, cmd, args, opts): sm and cmd are names", 2)
  end
  names.check_options(opts, options.proposing, 2)
  return core.request("propose", sm, cmd, args, opts or {})
end

function raft.query(sm, name, args, opts)
  if type(sm) ~= "string" or type(name) ~= "string" then
    error("query(sm, name, args, opts): sm and name are names", 2)
  end
  names.check_options(opts, options.reading, 2)
  return core.request("query", sm, name, args, opts or {})
end

function raft.barrier(ms) return core.request("barrier", check_ms(ms)) end

function raft.read_index(ms) return core.request("read_index", check_ms(ms)) end

function raft.transfer_leadership(id, ms) return core.request("transfer", id, check_ms(ms)) end

-- True, or nil and why not.
function raft.step_down()
  local _, err = core.request("step_down")
  if err then return nil, err end
  return true
end

function raft.snapshot(ms) return core.request("snapshot", check_ms(ms)) end

-- Wait until some node leads: its id, or nil and a timeout.
function raft.wait_leader(ms)
  check_ms(ms)
  local until_ms = ms and core.now_ms() + ms
  local elected = task.event()
  local _ <close> = core.on("leader_elected", function() elected:set() end)
  while true do
    elected:clear()
    local leader = core.status().leader_id
    if leader then return leader end
    if not elected:wait(until_ms and math.max(0, until_ms - core.now_ms())) then
      return nil, core.error("timeout", "no leader was elected in time")
    end
  end
end

return raft
