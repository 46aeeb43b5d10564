-- cron in chaos: a slot never starts more often than its retries allow, and is left out only by policy. The
-- world counts the programs, whose arguments are their slots.
local t = require "moonkeeper.test"
local chaos = require "lib.chaos"
local cron = require "lib.cron"

-- The world and the log tell the same: of the slots between the first and the last, none is left out, and
-- those that the log says were run are those that were.
local function account(c, name, runs, retries, policy)
  local starts = {}
  for _, run in ipairs(c:programs(name)) do
    local slot, attempt = run.arguments:match "(%S+) (%S+)"
    local id = slot .. " " .. attempt
    if starts[id] then t.fail(name .. ": " .. id .. " was started twice") end
    starts[id], starts[slot] = true, (starts[slot] or 0) + 1
    t.le(starts[slot], retries + 1, name .. ": starts of " .. slot)
  end
  for i, run in ipairs(runs) do
    if i > 1 then t.eq(run.slot_ms - runs[i - 1].slot_ms, cron.MINUTE, name .. ": no slot is left out") end
    t.ok(run.ended_ms, run.slot .. " is over")
    local started, claimed = starts[run.slot] or 0, run.attempt
    t.le(started, claimed, run.slot)
    if run.state ~= "interrupted" and not run.retry_after then t.eq(started, claimed, run.slot) end
    t.ok(policy[run.state], ("%s: %s is %s"):format(name, run.slot, run.state))
  end
  return #runs
end

t.describe("cron in chaos", function()
  t.it("starts no slot twice and leaves none out", function(mode)
    local jobs = {
      { name = "once", argv = { "once", "{slot}", "{attempt}" }, missed = "skip" },
      { name = "all", argv = { "all", "{slot}", "{attempt}" }, missed = "run_all", overlap = "queue",
        retries = 2 },
      { name = "kill", argv = { "kill", "{slot}", "{attempt}" }, missed = "run_once", overlap = "kill" },
    }
    for _, job in ipairs(jobs) do job.schedule, job.window_ms, job.retry_ms = "* * * * *", 5000, 100 end
    local c <close> = cron.cluster(mode, jobs, { heartbeat_ms = 50, election_ms = { 150, 300 } })
    c:program("once", { run_ms = { 100, 20000 } })
    c:program("all", { run_ms = { 100, 30000 }, code = math.random(0, 1), stop_ms = 300 })
    c:program("kill", { run_ms = { 100, 90000 }, ignores_stop = math.random(2) == 1 })
    for id = 1, 3 do c:set_wall(id, cron.time "2024-01-01 12:00" + math.random(-20000, 20000)) end
    c:start()
    chaos.run(c, { seconds = 600, every_ms = { 500, 30000 }, lasts_ms = { 100, 60000 } })
    local runs = {} -- as they were when all were over: the next slot may begin with the next read
    c:run_until(function()
      local under_way = 0
      for _, job in ipairs(jobs) do
        runs[job.name] = cron.runs(c, job.name)
        for _, run in ipairs(runs[job.name]) do under_way = under_way + (run.ended_ms and 0 or 1) end
      end
      return under_way == 0
    end, 30 * cron.MINUTE, "all runs are over")
    account(c, "once", runs.once, 0, { ok = true, interrupted = true, missed = true, skipped = true })
    account(c, "all", runs.all, 2, { ok = true, failed = true, interrupted = true })
    local killed = { ok = true, killed = true, interrupted = true, missed = true }
    local slots = account(c, "kill", runs.kill, 0, killed)
    t.ge(slots, 8)
  end, { modes = { "sim" }, seeds = 3, timeout_ms = 3 * cron.HOUR })
end)
