-- What tests of cron share: a cluster with jobs, what the world saw of their runs, what the log says of them.
local t = require "moonkeeper.test"

local cron = { MINUTE = 60 * 1000, HOUR = 3600 * 1000, DAY = 24 * 3600 * 1000 }

-- A slow cluster is quickly simulated. Jobs have the argv { "job", "{slot}", "{attempt}" } unless they say
-- otherwise.
function cron.cluster(mode, jobs, o)
  for _, job in ipairs(jobs) do
    job.argv = job.argv or { "job", "{slot}", "{attempt}" }
  end
  local options = { n = 3, mode = mode, scripts = { "bundled:cron" }, config = { jobs = jobs },
    heartbeat_ms = 10000, election_ms = { 30000, 60000 } }
  for name, value in pairs(o or {}) do options[name] = value end
  return t.cluster(options)
end

-- The ms since 1970 of a time in UTC: "2024-03-31 00:30".
function cron.time(text)
  local year, month, day, hour, min = text:match "(%d+)-(%d+)-(%d+) (%d+):(%d+)"
  local days = 0
  for y = 1970, year - 1 do days = days + ((y % 4 == 0 and (y % 100 ~= 0 or y % 400 == 0)) and 366 or 365) end
  local leap = (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) and 29 or 28
  local months = { 31, leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
  for m = 1, month - 1 do days = days + months[m] end
  return (days + day - 1) * cron.DAY + hour * cron.HOUR + min * cron.MINUTE
end

-- Set all clocks, before the start or later.
function cron.set(c, text) c:set_wall(nil, cron.time(text)) end

local function read(c, source, ...)
  local leader = c:wait_leader(10 * cron.MINUTE)
  return t.ok(leader:eval(source, ...))
end

-- The records of a job, oldest first.
function cron.runs(c, job)
  local runs = {}
  for _, item in ipairs(read(c, "return mk.kv.list(...)", "cron/runs/" .. job .. "/")) do
    runs[#runs + 1] = item.value
  end
  return runs
end

function cron.state(c, job) return read(c, "return (mk.kv.get(...))", "cron/jobs/" .. job) end

-- { "22:20 ok", ... }
function cron.states(c, job)
  local states = {}
  for i, run in ipairs(cron.runs(c, job)) do states[i] = run.slot:match "T(%d+:%d+)" .. " " .. run.state end
  return states
end

-- Wait until the job has so many records, of which none is under way.
function cron.settle(c, job, count, ms)
  c:run_until(function()
    local runs = cron.runs(c, job)
    for _, run in ipairs(runs) do
      if run.state == "running" or run.state == "queued" then return false end
    end
    return #runs >= count
  end, ms or cron.HOUR, ("%d settled runs of %s"):format(count, job))
end

-- The world's view: no slot was started more often than its retries allow, and no attempt twice. Returns the
-- starts, by slot.
function cron.check_starts(c, retries)
  local starts, attempts = {}, {}
  for _, run in ipairs(c:programs "job") do
    local slot, attempt = run.arguments:match "(%S+) (%S+)"
    starts[slot] = (starts[slot] or 0) + 1
    if starts[slot] > retries + 1 then t.fail(slot .. " was started " .. starts[slot] .. " times") end
    if attempts[run.arguments] then t.fail(run.arguments .. " was started twice") end
    attempts[run.arguments] = true
    t.ok(tonumber(attempt) <= retries + 1, "attempts")
  end
  return starts
end

return cron
