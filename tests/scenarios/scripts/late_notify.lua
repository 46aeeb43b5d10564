-- notify, whose main chunk takes half a second each time that it is loaded anew.
local mk = require "moonkeeper"

if mk.saved then mk.task.sleep(500) end
package.path = "scripts/?.lua"
require "notify"
