-- cron: programs at set times, each time once in the whole cluster. Settings, keys and promises are in
-- scripts/README.md; a smaller one of these is built step by step in lua/README.md.
--
-- A slot is a job and a time at which it is due. The leader considers slots in their order; what becomes of
-- each stands in the log before anything is done about it:
--
--   queued -> running -> ok, failed, timeout, killed, interrupted     (or queued again: a retry)
--   skipped   the one before was still running
--   missed    nobody led at its time, and the job's policy says to leave it at that
--
-- A leader holds nothing of its own but the program that it runs: everything else it reads from the log.
--
-- Here are the settings, and all jobs together. cron/job.lua is one of them, cron/plan.lua decides what
-- becomes of its slots, cron/records.lua is what the log has of it, cron/run.lua its program.
local mk = require "moonkeeper"
local job = require "cron.job"

local function is_schedule(spec)
  local _, err = mk.cron.parse(spec)
  return err and err.message
end

local function is_zone(tz)
  local _, err = mk.cron.parse("@daily", { tz = tz })
  return err and err.message
end

local settings = mk.config.declare {
  prefix = { type = "string", min = 1, default = "cron" },
  stop_ms = { type = "integer", min = 0, default = 5000 },
  jobs = { type = "table", required = true, unique = "name", items = { type = "table", fields = {
    name = { type = "string", required = true, format = "name" },
    schedule = { type = "string", required = true, check = is_schedule },
    tz = { type = "string", default = "UTC", check = is_zone },
    argv = { type = "table", required = true, min = 1, items = { type = "string" } },
    env = { type = "table", values = { type = "string" }, format = "environment" },
    cwd = { type = "string" },
    timeout_ms = { type = "integer", min = 1 },
    overlap = { type = "string", one_of = { "skip", "queue", "kill" }, default = "skip" },
    missed = { type = "string", one_of = { "run_once", "run_all", "skip" }, default = "run_once" },
    window_ms = { type = "integer", min = 1000, default = 60000 },
    retries = { type = "integer", min = 0, default = 0 },
    retry_ms = { type = "integer", min = 0, default = 1000 },
    history = { type = "integer", min = 1, max = 10000, default = 100 },
  } } },
}

-- What stands in such keys may be of another version, or of a person: the others run all the same.
local function retire_others(lead, jobs)
  for _, item in ipairs(assert(mk.kv.list(settings.prefix .. "/jobs/"))) do
    local options, name = item.value, item.key:match "[^/]*$"
    local good, err = pcall(function()
      if jobs[name] or options.removed then return end
      options.name, options.retries, options.retry_ms = name, 0, 0
      job.new(lead, settings, options):retire()
    end)
    if not good then
      lead:check()
      mk.task.checkpoint()
      mk.log.warn("cron: this key is no job's", { key = item.key, err = tostring(err) })
    end
  end
end

-- Requests are keys: cron/requests/JOB/NUMBER.
local function take_requests(lead, jobs)
  for ev in mk.kv.watch(settings.prefix .. "/requests/", { initial = true }) do
    local name = ev.key and ev.key:match "([^/]*)/[^/]*$"
    local wanted = jobs[name]
    if ev.type == "set" and wanted then
      wanted:request(ev.key, ev.version)
    elseif ev.type == "set" then
      mk.log.warn("cron: asked to run a job that is not there", { job = name })
      mk.kv.delete(ev.key, { fence = lead.token })
    elseif ev.type == "delete" and wanted then
      wanted:forget(ev.key)
    elseif ev.type == "gap" then
      for _, other in pairs(jobs) do other:forget_all() end
    end
  end
end

mk.while_leader("cron", function(lead)
  local jobs = {}
  for _, options in ipairs(settings.jobs) do jobs[options.name] = job.new(lead, settings, options) end
  retire_others(lead, jobs)
  mk.log.info("cron: the jobs are run from here", { jobs = #settings.jobs, token = lead.token })
  for _, options in ipairs(settings.jobs) do
    local one = jobs[options.name]
    lead:spawn(one.keep, one)
  end
  take_requests(lead, jobs)
end, { grace_ms = settings.stop_ms + 1000 })
