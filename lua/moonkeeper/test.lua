-- require "moonkeeper.test": tests of clusters and scripts, run by `moonkeeper test FILE`. Described in
-- tests/README.md, declared in lua/moonkeeper/meta/test.lua.
local Cluster = require "moonkeeper.test.cluster"
local cases = require "moonkeeper.test.cases"
local expect = require "moonkeeper.test.expect"

local t = {
  describe = cases.describe,
  it = cases.it,
  requires = cases.requires,
}

for _, name in ipairs { "eq", "ne", "gt", "ge", "lt", "le", "ok", "err", "match", "fail" } do
  t[name] = expect[name]
end

-- A cluster of which nothing runs yet. `local c <close> = t.cluster { n = 3 }` stops and checks it at
-- the end of its block.
function t.cluster(options)
  local mode = cases.mode()
  if not mode then error("t.cluster: only inside of t.it(name, function(mode) ... end)", 2) end
  return Cluster.new(options, mode)
end

return t
