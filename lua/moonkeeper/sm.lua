-- mk.sm: replicated state machines of one's own, from a file beside the script.
local core = require "moonkeeper.core"
local names = require "moonkeeper.names"
local options = require "moonkeeper.options"
local raft = require "moonkeeper.raft"

local sm = {}

local Machine = {}
Machine.__index = Machine
Machine.__name = "machine"

function Machine:propose(cmd, args, opts)
  if type(cmd) ~= "string" then error("propose(cmd, args, opts): cmd is a name", 2) end
  names.check_options(opts, options.proposing, 2)
  return raft.propose(self.name, cmd, args, opts)
end

function Machine:query(name, args, opts)
  if type(name) ~= "string" then error("query(name, args, opts): name is a name", 2) end
  names.check_options(opts, options.reading, 2)
  return raft.query(self.name, name, args, opts)
end

-- Have the cluster run the machine in this file: all nodes, from one entry of the log on. What it runs
-- already is not loaded again, so that every node's script may ask.
function sm.load(file, opts)
  if type(file) ~= "string" then error("load(file, opts): file is a path", 2) end
  names.check_options(opts, { timeout_ms = "number" }, 2)
  local source, err = core.read_beside(file)
  if not source then return nil, err end
  local loaded, refused = core.request("load", source, opts or {})
  if not loaded then return nil, refused end
  return setmetatable({ name = loaded.name, version = loaded.version }, Machine)
end

return sm
