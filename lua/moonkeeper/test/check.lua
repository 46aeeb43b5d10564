-- What a test gives to the verbs of a cluster, looked at before it is used. A misspelt option, event or
-- kind of message would be ignored, and the test pass for ever without testing what it says. A mistake
-- raises, with the line in the test file and what was meant.
local core = require "moonkeeper.core"
local expect = require "moonkeeper.test.expect"
local names = require "moonkeeper.names"
local options = require "moonkeeper.options"

local check = {}

local misuse = expect.misuse

local OPTIONS = {
  crash = { host = "boolean", auto_restart = "boolean" },
  delay = { type = "string", probability = "number" },
  drop = { type = "string", count = "number" },
  disk = { ms = "number", bytes = "number", offset = "number", of = "string", file = "string" },
  program = { run_ms = true, code = "number", stdout = "string", stderr = "string", stop_ms = "number",
    ignores_stop = "boolean", node = "number" },
  http_server = { status = true, body = "string", headers = "table", latency_ms = true, fails = "number",
    down = "boolean", refuses = "table" },
  reload = { scripts = "table", config = "table" },
  leader = { among = "table" },
  wait_leader = { among = "table" },
  propose = options.proposing,
  query = options.reading,
  submit = { node = "number", timeout_ms = "number" },
  add = { timeout_ms = "number", voter = "boolean" },
  remove = { timeout_ms = "number" },
  transfer = { timeout_ms = "number" },
  events = { name = "string", node = "number", since_ms = "number" },
  rpcs = { node = "number", type = "string" },
  http = { headers = "table", timeout_ms = "number" },
}

-- What a message may be called, as the driver has it; asked for once.
local message_types

local function one_of(verb, what, value, known)
  if names.is_one_of(value, known) then return end
  local hint = names.suggest(names.nearest(value, known), known)
  misuse(("%s: there is no %s '%s'; %s"):format(verb, what, value, hint))
end

-- The options of a verb; returns them.
function check.options(verb, given)
  local wrong = names.wrong_option(given, OPTIONS[verb])
  if wrong then misuse(verb .. ": " .. wrong) end
  if given and given.type then
    message_types = message_types or assert(core.request "message_types")
    one_of(verb, "type of message", given.type, message_types)
  end
  return given
end

function check.event(verb, name)
  local wrong = name and core.wrong_event(name)
  if wrong then misuse(verb .. ": " .. wrong) end
end

-- That of the options of t.cluster: a test runs in one mode, and this is for those who want to say it.
function check.mode(mode, running)
  if mode == nil or mode == running then return end
  if type(mode) ~= "string" then misuse("t.cluster: mode is text, not a " .. type(mode)) end
  one_of("t.cluster", "mode", mode, { "sim", "real" })
  misuse(("t.cluster: mode is '%s', and the test runs in '%s'; t.requires \"%s\" keeps it from that")
    :format(mode, running, mode))
end

local function is_number(value) return type(value) == "number" and value == value end

-- A time; usage: the call, as it ought to be.
function check.ms(usage, name, value)
  if not is_number(value) or value < 0 then
    misuse(("%s: %s is a time in ms, from 0 on, not %s"):format(usage, name, tostring(value)))
  end
  return value
end

function check.probability(usage, name, value)
  if not is_number(value) or value < 0 or value > 1 then
    misuse(("%s: %s is a probability, 0 to 1, not %s"):format(usage, name, tostring(value)))
  end
  return value
end

return check
