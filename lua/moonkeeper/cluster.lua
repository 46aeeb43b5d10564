-- mk.cluster: the members, and what their scripts say to each other.
local core = require "moonkeeper.core"

local cluster = {
  members = core.members,
  handle = core.handle,
}

local function change(method)
  return function(id, ...)
    if type(id) ~= "string" then error("a member's id is a string, got " .. type(id), 2) end
    local members, err = core.request(method, id, ...)
    if not members then return nil, err end
    return true
  end
end

-- Add a member, which does not vote yet; it is started with the same configuration as the others.
local add = change "members_add"
function cluster.add(id, addr)
  if type(addr) ~= "string" then error("add(id, addr): the address of its peer listener", 2) end
  return add(id, addr)
end

cluster.promote = change "members_promote"
cluster.remove = change "members_remove"

-- Ask the handler of a topic on another node, or on this one: what it returned.
function cluster.call(id, topic, payload, ms)
  if ms ~= nil and (type(ms) ~= "number" or ms < 0) then
    error("a time in ms expected, got " .. tostring(ms), 2)
  end
  return core.cluster_call(id, topic, payload, ms and math.floor(ms))
end

-- Tell the `message` hooks of another node, or of this one. True: it is on its way, and may be lost there.
function cluster.send(id, topic, payload) return core.cluster_send(id, topic, payload) end

return cluster
