-- Needs a module that is found only on the lua_path of its application.
local mk = require "moonkeeper"
local greeting = require "greeting"

mk.while_leader("greeter", function(lead)
  assert(mk.kv.set("greeting", greeting.of(mk.info().id), { fence = lead.token }))
end, { on_error = "retry" })
