-- The methods of `lead`, the object a while_leader's function is given: those of its scope.
local core = require "moonkeeper.core"
local timer = require "moonkeeper.timer"

local methods = core.lead_methods()

function methods:spawn(fn, ...)
  self:check()
  return core.spawn_in_scope(fn, ...)
end

function methods:on(event, fn, opts)
  self:check()
  return core.on_in_scope(event, fn, opts)
end

function methods:every(ms, fn)
  self:check()
  return timer.every(ms, fn)
end
