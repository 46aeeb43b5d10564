-- What a test expects, and what it is told when that is not so.
local core = require "moonkeeper.core"
local diff = require "moonkeeper.test.diff"

local expect = {}

-- An expectation that failed: message, and where in the test file.
local Failure = {
  __name = "test failure",
  __tostring = function(failure)
    return (failure.where and failure.where .. ": " or "") .. failure.message
  end,
}

-- "file.lua:12" of the innermost function on the stack that is not one of ours.
function expect.place()
  for level = 3, 100 do
    local _, text = pcall(error, "", level)
    local where = text:match "^(.+:%d+): $"
    if where and not where:match "^moonkeeper/" then return where end
  end
end

-- A mistake in the test itself, told with its line there.
function expect.misuse(message)
  local where = expect.place()
  error(where and where .. ": " .. message or message, 0)
end

function expect.failure(message)
  return setmetatable({ code = "assertion", message = message, where = expect.place() }, Failure)
end

function expect.is_failure(err) return getmetatable(err) == Failure end

-- Raise it. message: what a user of t said about this expectation, or nil.
local function fail(what, message)
  error(expect.failure(message and message .. ": " .. what or what), 0)
end
expect.raise = fail

local show = diff.show

function expect.fail(message) fail(tostring(message or "failed")) end

function expect.eq(actual, expected, message)
  local difference = diff.compare(actual, expected)
  if difference then fail(difference, message) end
end

function expect.ne(actual, unexpected, message)
  if not diff.compare(actual, unexpected) then
    fail("it is " .. show(actual) .. ", which it must not be", message)
  end
end

-- True unless the two can be ordered.
local function incomparable(a, b)
  return type(a) ~= type(b) or (type(a) ~= "number" and type(a) ~= "string")
end

local function ordering(words, holds)
  return function(actual, bound, message)
    if incomparable(actual, bound) then
      fail(("%s cannot be compared with %s"):format(show(actual), show(bound)), message)
    elseif not holds(actual, bound) then
      fail(("%s is not %s %s"):format(show(actual), words, show(bound)), message)
    end
  end
end

expect.gt = ordering("greater than", function(a, b) return a > b end)
expect.ge = ordering("at least", function(a, b) return a >= b end)
expect.lt = ordering("less than", function(a, b) return a < b end)
expect.le = ordering("at most", function(a, b) return a <= b end)

-- Neither nil nor false; what a function returned is passed on: local v = t.ok(c:propose(...)).
function expect.ok(value, err, ...)
  if not value then
    fail(err == nil and "it is " .. show(value) or tostring(err))
  end
  return value, err, ...
end

-- An expected failure: t.err("not_leader", c:propose(...)).
function expect.err(code, value, err)
  if value ~= nil then
    fail(("expected the error %s, and it succeeded: %s"):format(code, show(value)))
  end
  local actual = type(err) == "table" and err.code or err
  if actual ~= code then
    fail(("expected the error %s, got %s"):format(code, err == nil and "nothing" or tostring(err)))
  end
end

function expect.match(text, pattern, message)
  if type(text) ~= "string" or not text:find(pattern) then
    fail(("%s does not match %s"):format(show(text), show(pattern)), message)
  end
end

-- What went wrong, of whatever was raised, as the driver wants it.
function expect.describe(err, trace)
  local told = { trace = trace }
  if expect.is_failure(err) then
    told.message, told.where = err.message, err.where
  else
    local killed = type(err) == "table" and err.code == "cancelled"
    local text = killed and err.message or tostring(err)
    told.where, told.message = text:match "^([^\n]-%.lua:%d+): (.*)$"
    told.message = told.message or text
  end
  return told
end

expect.error = core.error

return expect
