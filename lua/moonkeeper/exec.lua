-- mk.exec: programs. A process belongs to the task that starts it and ends with it, however that ends:
-- it is asked to stop first, as long as there is time for that.
local core = require "moonkeeper.core"
local held_under = require "moonkeeper.held_under"
local names = require "moonkeeper.names"
local patiently = require "moonkeeper.patiently"
local task = require "moonkeeper.task"

local exec = {}

local STOP_MS = 5000
local OUTPUT_MAX = 1 << 20
local LINE_MAX = 8192

-- Options -----------------------------------------------------------------------------------------

local outputs = { "capture", "log", "drop" }
local known = { env = "table", cwd = "string", stdin = true, stdout = outputs, stderr = outputs,
  stop_signal = "string", stop_ms = "number", timeout_ms = "number", max_output = "number" }

local function check(argv, o, level)
  if type(argv) ~= "table" then
    error(("a program is a list, { \"date\", \"+%%F\" }, not a %s; a shell is one, { \"sh\", \"-c\", ... }")
      :format(type(argv)), level + 1)
  end
  names.check_options(o, known, level + 1)
  if o.stop_signal then core.signal_number(o.stop_signal) end
end

-- Processes ---------------------------------------------------------------------------------------

local Process = {}
Process.__index = Process
Process.__name = "process"

-- What runs is kept here: by task, and those of the application itself; there by number, so that they are
-- found in the order of their starts.
local running = {}
local APP = {}
local numbers = 0

function Process:__tostring()
  return ("process %d (%s)"):format(self.pid, self.program)
end

-- Has it ended? How: {code} or {signal}. nil and a timeout when it has not after ms.
function Process:wait(ms)
  if not self.ended:wait(ms) then
    return nil, core.error("timeout", "the process has not ended in time")
  end
  if not self.status then return nil, core.error("cancelled", "the process was given up") end
  return self.status
end

-- Send a signal to it and to all that it has started.
function Process:kill(signal) core.process_signal(self.handle, signal or "KILL") end

-- Ask it to end, and kill it if it has not after stop_ms: how it ended.
function Process:stop()
  if not self.ended.is_set then
    self:kill(self.stop_signal)
    if not self.ended:wait(self.stop_ms) then self:kill() end
  end
  self.ended:wait()
  return self:wait(0)
end

-- Returns when it has been given all of data; it need not have read it yet.
function Process:write(data)
  local _, err = core.process_write(self.handle, data)
  if err then return nil, err end
  return true
end

-- No more will be written.
function Process:close_stdin() core.process_close_input(self.handle) end

-- The next piece of a stream; nil at its end.
local function read(p, stream, ms)
  local data, err = core.process_read(p.handle, stream, p.offset[stream], ms)
  if data then p.offset[stream] = p.offset[stream] + #data end
  return data, err
end

-- The next line of stdout, without its end; nil when there are no more, nil and a timeout when there is none
-- after ms.
function Process:read_line(ms)
  if self.output.stdout ~= "capture" then
    error("only what is captured can be read: stdout = 'capture'", 2)
  end
  local until_ms = core.until_ms(ms)
  while true do
    local stop = self.unread:find("\n", self.from, true)
    if stop or (self.at_end and self.from <= #self.unread) then
      local line = self.unread:sub(self.from, (stop or #self.unread + 1) - 1)
      self.from = (stop or #self.unread) + 1
      return line
    end
    if self.at_end then return nil end
    local data, err = read(self, "stdout", until_ms and math.max(0, until_ms - core.now_ms()))
    if err then return nil, err end
    self.unread, self.from = self.unread:sub(self.from) .. (data or ""), 1
    self.at_end = not data
  end
end

-- Have each line logged, until there are no more. Belongs to nobody: it ends with the stream.
local function log_lines(p, stream)
  local unread = ""
  repeat
    local data = patiently(read, p, stream)
    unread = unread .. (data or "")
    local from = 1
    while from <= #unread do
      local stop = unread:find("\n", from, true)
      if not stop and data and #unread - from < LINE_MAX then break end
      local line = unread:sub(from, math.min(stop and stop - 1 or #unread, from + LINE_MAX - 1))
      core.log("info", line, { program = p.program, pid = p.pid, stream = stream })
      from = from + #line + (stop == from + #line and 1 or 0)
    end
    unread = unread:sub(from)
  until not data
  p.logged[stream]:set()
end

-- Wait for its end, whoever else does or does not.
local function keep(p, owner)
  local ended = patiently(core.process_wait, p.handle)
  if ended then
    p.status = ended >= 0 and { code = ended } or { signal = core.signal_name(-ended) }
  end
  p.ended:set()
  for _, logged in pairs(p.logged) do logged:wait() end
  running[owner][p.number] = nil
  if owner ~= APP and next(running[owner]) == nil then running[owner] = nil end
end

-- The owner ends: so do its processes, all at once.
local function stop_all(owner)
  local stopping, numbered = {}, {}
  for number in pairs(running[owner] or {}) do numbered[#numbered + 1] = number end
  table.sort(numbered)
  for i, number in ipairs(numbered) do stopping[i] = running[owner][number] end
  for _, p in ipairs(stopping) do
    if not p.ended.is_set then p:kill(p.stop_signal) end
  end
  for _, p in ipairs(stopping) do p:stop() end
  for _, p in ipairs(stopping) do
    for _, logged in pairs(p.logged) do logged:wait() end
  end
end

core.on_end(function() stop_all(APP) end) -- this generation of the script ends

local deferred = setmetatable({}, { __mode = "k" }) -- owners that stop their processes at their end

local function own(p, is_owned)
  local owner = is_owned and core.current() or APP
  running[owner] = running[owner] or {}
  numbers = numbers + 1
  p.number = numbers
  running[owner][p.number] = p
  if is_owned and not deferred[owner] then
    deferred[owner] = true
    task.defer(function() stop_all(owner) end)
  end
  core.spawn_lasting(keep, p, owner)
end

local function start(argv, o, output)
  local lease = core.nearest(held_under)
  local handle, pid, is_owned = core.process_start(argv, {
    env = o.env,
    cwd = o.cwd,
    input = o.stdin and true or false,
    stdout = output.stdout ~= "drop",
    stderr = output.stderr ~= "drop",
    until_ms = lease and lease:bound_ms(),
  })
  if not handle then return nil, pid end
  local p = setmetatable({
    handle = handle, pid = pid, program = tostring(argv[1]), output = output,
    stop_signal = o.stop_signal or "TERM", stop_ms = o.stop_ms or STOP_MS,
    ended = task.event(), logged = {}, offset = { stdout = 0, stderr = 0 },
    unread = "", from = 1, at_end = false,
  }, Process)
  for _, stream in ipairs { "stdout", "stderr" } do
    if output[stream] == "log" then
      p.logged[stream] = task.event()
      core.spawn_lasting(log_lines, p, stream)
    end
  end
  own(p, is_owned)
  if lease then lease:extend(p) end
  return p
end

-- Start a program: a process, or nil and the reason. What it writes is logged unless o says otherwise.
function exec.spawn(argv, o)
  o = o or {}
  check(argv, o, 2)
  if o.timeout_ms or o.max_output then error("timeout_ms and max_output are for mk.exec.run", 2) end
  if o.stderr == "capture" then error("stderr of a spawned process cannot be read: 'log' or 'drop'", 2) end
  if o.stdin ~= nil and type(o.stdin) ~= "boolean" then
    error("stdin of mk.exec.spawn is true or false; process:write gives it text, and so does mk.exec.run", 2)
  end
  return start(argv, o, { stdout = o.stdout or "log", stderr = o.stderr or "log" })
end

-- Collect a stream, up to max bytes; what is beyond is read and dropped.
local function collect(p, stream, max, into, done)
  local pieces, size = {}, 0
  local data = patiently(read, p, stream)
  while data do
    if size < max then pieces[#pieces + 1] = data:sub(1, max - size) end
    size = size + #data
    into.truncated = into.truncated or size > max
    data = patiently(read, p, stream)
  end
  into[stream] = table.concat(pieces)
  done:set()
end

-- Give it its input, then wait for its end. Writing fails when it ends before it has read all.
local function feed(p, input)
  patiently(core.process_write, p.handle, input)
  core.process_close_input(p.handle)
end

-- Run a program to its end: {code or signal, stdout, stderr, timed_out, truncated}, or nil and the reason
-- why it could not be started. What it writes is captured unless o says otherwise.
function exec.run(argv, o)
  o = o or {}
  check(argv, o, 2)
  if o.stdin ~= nil and type(o.stdin) ~= "string" then error("stdin of mk.exec.run is a string", 2) end
  local output = { stdout = o.stdout or "capture", stderr = o.stderr or "capture" }
  local p, err = start(argv, o, output)
  if not p then return nil, err end
  local result, collected = { timed_out = false, truncated = false }, {}
  for stream, kind in pairs(output) do
    if kind == "capture" then
      local done = task.event()
      collected[#collected + 1] = done
      core.spawn_lasting(collect, p, stream, o.max_output or OUTPUT_MAX, result, done)
    end
  end
  if o.stdin then core.spawn_lasting(feed, p, o.stdin) end
  local status = p:wait(o.timeout_ms)
  if not status then
    result.timed_out = true
    status = p:stop()
  end
  for _, done in ipairs(collected) do done:wait() end
  result.code, result.signal = status and status.code, status and status.signal
  return result
end

return exec
