-- os.execute and io.popen, which libraries for plain Lua call: a shell, run as mk.exec runs any program.
-- src/script/shell.c puts them in their places, and looks at the arguments.
local core = require "moonkeeper.core"
local exec = require "moonkeeper.exec"
local patiently = require "moonkeeper.patiently"

local WRITE_MAX = 1 << 20
local NUMERAL_MAX = 200

local shell = {}

local function start(command, o) return exec.spawn({ "sh", "-c", command }, o) end

-- How it ended, as Lua tells it, once all that it wrote is logged.
local function result_of(process)
  local status, err = process:wait()
  if not status then return nil, err end
  for _, logged in pairs(process.logged) do logged:wait() end
  if status.code then return status.code == 0 or nil, "exit", status.code end
  return nil, "signal", tonumber(status.signal) or core.signal_number(status.signal)
end

function shell.execute(command)
  if not command then return true end -- there is a shell
  local process, err = start(command)
  if not process then return nil, err end
  return result_of(process)
end

-- Files ---------------------------------------------------------------------------------------------

local File = {}
File.__index = File
File.__name = "file"

function File:__tostring()
  return ("file (%s)"):format(self.process and self.command or "closed")
end

local function check(f, mode)
  if not f.process then error("attempt to use a closed file", 3) end
  if mode and f.mode ~= mode then
    error(("io.popen was given '%s': %s"):format(f.mode, mode == "r" and "this file is not read" or
      "this file is not written"), 3)
  end
end

-- Is there more to read? What there is stands in f.text from f.from on.
local function has_more(f)
  while f.from > #f.text and not f.at_end do
    local data, err = patiently(core.process_read, f.process.handle, "stdout", f.offset)
    if err then error(err, 0) end
    f.at_end = not data
    f.text, f.from, f.offset = data or "", 1, f.offset + #(data or "")
  end
  return f.from <= #f.text
end

-- Take what there is as far as f.text[last]; by default all of it.
local function take(f, last)
  local piece = f.text:sub(f.from, last)
  f.from = f.from + #piece
  return piece
end

local function read_all(f)
  local pieces = {}
  while has_more(f) do pieces[#pieces + 1] = take(f) end
  return table.concat(pieces)
end

local function read_count(f, count)
  if not has_more(f) then return nil end
  local pieces = {}
  while count > 0 and has_more(f) do
    local piece = take(f, f.from + count - 1)
    pieces[#pieces + 1], count = piece, count - #piece
  end
  return table.concat(pieces)
end

local function read_line(f, ending)
  if not has_more(f) then return nil end
  local pieces = {}
  local stop
  repeat
    stop = f.text:find("\n", f.from, true)
    pieces[#pieces + 1] = take(f, stop)
  until stop or not has_more(f)
  local line = table.concat(pieces)
  return stop and not ending and line:sub(1, -2) or line
end

-- The longest beginning that can be one of a numeral is taken, whether it is one or not: as Lua's files do.
local function read_number(f)
  local text = ""
  local function next_is(set)
    if not has_more(f) or #text >= NUMERAL_MAX or not f.text:find("^" .. set, f.from) then return false end
    text = text .. take(f, f.from)
    return true
  end
  local function digits(set)
    local count = 0
    while next_is(set) do count = count + 1 end
    return count
  end
  while has_more(f) and f.text:find("^%s", f.from) do f.from = f.from + 1 end
  next_is "[-+]"
  local zero = next_is "0"
  local hex = zero and next_is "[xX]"
  local digit = hex and "%x" or "%d"
  local count = (zero and not hex and 1 or 0) + digits(digit)
  if next_is "%." then count = count + digits(digit) end
  if count > 0 and next_is(hex and "[pP]" or "[eE]") then
    next_is "[-+]"
    digits "%d"
  end
  return tonumber(text)
end

local readers = {
  a = read_all,
  l = read_line,
  L = function(f) return read_line(f, true) end,
  n = read_number,
}

-- A function of the file for each format, and what else it is given; misuse is told `level` levels up.
local function readers_of(formats, level)
  if formats.n == 0 then formats = { "l", n = 1 } end
  local list = {}
  for i = 1, formats.n do
    local count = type(formats[i]) == "number" and math.tointeger(formats[i])
    local name = type(formats[i]) == "string" and formats[i]:match "^%*?(.)"
    if not count and not readers[name] then
      error(("bad argument #%d to 'read' (invalid format)"):format(i), level + 1)
    end
    list[i] = { read = readers[name] or read_count, count = readers[name] == nil and count or nil }
  end
  return list
end

local function read(f, list)
  local results = {}
  for i, reader in ipairs(list) do
    results[i] = reader.read(f, reader.count)
    if results[i] == nil then return table.unpack(results, 1, i) end
  end
  return table.unpack(results, 1, #list)
end

function File:read(...)
  check(self, "r")
  return read(self, readers_of(table.pack(...), 2))
end

function File:lines(...)
  check(self, "r")
  local list = readers_of(table.pack(...), 2)
  return function()
    check(self, "r")
    return read(self, list)
  end
end

function File:write(...)
  check(self, "w")
  local pieces = table.pack(...)
  for i = 1, pieces.n do
    if type(pieces[i]) ~= "string" and type(pieces[i]) ~= "number" then
      error(("bad argument #%d to 'write' (string expected, got %s)"):format(i, type(pieces[i])), 2)
    end
  end
  local text = table.concat(pieces)
  for from = 1, #text, WRITE_MAX do
    local _, err = patiently(core.process_write, self.process.handle, text:sub(from, from + WRITE_MAX - 1))
    if err then return nil, err end
  end
  return self
end

function File:flush() -- what is written is on its way at once
  check(self)
  return self
end

-- It reads, or is read, no more: wait for its end.
local function close(f)
  local process = f.process
  f.process = nil
  if f.mode == "r" then
    core.process_close_output(process.handle)
  else
    process:close_stdin()
  end
  return process
end

function File:close()
  check(self)
  return result_of(close(self))
end

function File:__close()
  if self.process then close(self):wait() end
end

function shell.popen(command, mode)
  local process, err = start(command, { stdout = mode == "r" and "capture" or "log", stdin = mode == "w" })
  if not process then return nil, err end
  return setmetatable({
    process = process, command = command, mode = mode,
    text = "", from = 1, offset = 0, at_end = false,
  }, File)
end

return shell
