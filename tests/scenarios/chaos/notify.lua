-- scripts/notify.lua in chaos: what is in the log is told, and never again once its acceptance is committed.
-- The world tells what was received and when.
local t = require "moonkeeper.test"
local chaos = require "lib.chaos"
local notices = require "lib.notices"

local function cluster_in_chaos(mode, faults)
  local c = notices.cluster(mode,
    { retry_ms = 100, retry_max_ms = 1000, timeout_ms = 300, most = 20, window_ms = 10000 })
  c:http_server(notices.URL, { fails = 0.2, latency_ms = { 1, 50 } })
  c:start()
  chaos.run(c, { seconds = 60, faults = faults })
  c:run_for(2000)
  return c
end

t.describe("notifications, in chaos", function()
  t.it("are told, and never again once it is committed that they were accepted", function(mode)
    local c <close> = cluster_in_chaos(mode)
    t.gt(notices.check(c, 60), 3)
  end, { modes = { "sim" }, seeds = 2, timeout_ms = 600000 })

  -- All faults but pauses: an answer that comes to a process that is stopped is heard by nobody.
  t.it("are not sent again by a node that has heard that they were accepted", function(mode)
    local c <close> = cluster_in_chaos(mode, { "crash", "crash_host", "crash_again", "stop", "clock",
      "transfer", "isolate", "partition", "partition", "cut", "cut", "slow", "loss" })
    notices.check(c, 60)
    notices.check_heard(c)
  end, { modes = { "sim" }, seeds = 2, timeout_ms = 600000 })
end)
