-- What application scripts find in their globals, for luacheck:
--
--     luacheck --config lua/moonkeeper.luacheckrc my.lua
--
-- It warns of os.exit, io.open and the like, which a node does not have. A test holds it against one.
-- Also under Lua 5.1, which luacheck may run on: its patterns have no %g.
local function fields(names)
  local set = {}
  for name in names:gmatch "%S+" do set[name] = {} end
  return { fields = set }
end

stds.moonkeeper = {
  globals = {
    "_G", "_VERSION", "assert", "collectgarbage", "error", "getmetatable", "ipairs", "load", "next", "pairs",
    "pcall", "print", "rawequal", "rawget", "rawlen", "rawset", "require", "select", "setmetatable", "tonumber",
    "tostring", "type", "xpcall",
    coroutine = fields "close create isyieldable resume running status wrap yield",
    debug = fields "traceback",
    io = fields "popen",
    math = fields [[abs acos asin atan ceil cos deg exp floor fmod huge log max maxinteger min mininteger modf pi
      rad random randomseed sin sqrt tan tointeger type ult]],
    os = fields "clock date difftime execute getenv time",
    package = fields "config cpath loaded path preload searchers searchpath",
    string = fields "byte char find format gmatch gsub len lower match pack packsize rep reverse sub unpack upper",
    table = fields "concat insert move pack remove sort unpack",
    utf8 = fields "char charpattern codepoint codes len offset",
  },
}
std = "moonkeeper"
max_line_length = false
