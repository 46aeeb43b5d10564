-- mk.sm: replicated state machines of one's own, from a file beside the script.
local core = require "moonkeeper.core"
local raft = require "moonkeeper.raft"

local sm = {}

local Machine = {}
Machine.__index = Machine
Machine.__name = "machine"

function Machine:propose(cmd, args, opts) return raft.propose(self.name, cmd, args, opts) end

function Machine:query(name, args, opts) return raft.query(self.name, name, args, opts) end

-- Have the cluster run the machine in this file: all nodes, from one entry of the log on. What it runs
-- already is not loaded again, so that every node's script may ask.
function sm.load(file, opts)
  if type(file) ~= "string" then error("load(file, opts): file is a path", 2) end
  local source, err = core.read_beside(file)
  if not source then return nil, err end
  local loaded, refused = core.request("load", source, opts or {})
  if not loaded then return nil, refused end
  return setmetatable({ name = loaded.name, version = loaded.version }, Machine)
end

return sm
