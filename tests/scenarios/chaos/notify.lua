-- scripts/notify.lua in chaos: what is in the log is told, and never again once its acceptance is committed.
-- The world tells what was received and when.
local t = require "moonkeeper.test"
local chaos = require "lib.chaos"
local notices = require "lib.notices"

t.describe("notifications, in chaos", function()
  t.it("are told, and never again once it is committed that they were accepted", function(mode)
    local c <close> = notices.cluster(mode,
      { retry_ms = 100, retry_max_ms = 1000, timeout_ms = 300, most = 20, window_ms = 10000 })
    c:http_server(notices.URL, { fails = 0.2, latency_ms = { 1, 50 } })
    c:start()
    chaos.run(c, { seconds = 60 })
    c:run_for(2000)
    t.gt(notices.check(c, 60), 3)
  end, { modes = { "sim" }, seeds = 4, timeout_ms = 600000 })
end)
