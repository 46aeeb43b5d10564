-- A program that only the leader runs is never on two nodes at once, whatever happens. The world counts the
-- programs, not the script.
local t = require "moonkeeper.test"
local chaos = require "lib.chaos"
local alone = require "lib.alone"

t.describe("a worker on the leader, in chaos", function()
  t.it("is never on two nodes at once, and runs in the end", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode, scripts = { "tests/scenarios/scripts/worker.lua" } }
    local stubborn = math.random(3) == 1
    c:program("worker", { ignores_stop = stubborn, stop_ms = not stubborn and 400 or nil })
    c:start()
    chaos.run(c, { seconds = 60 })
    alone.wait_for(c, "worker")
    alone.check(c, "worker")
  end, { modes = { "sim" }, seeds = 4, timeout_ms = 300000 })

  t.it("the bundled script never has one on two nodes at once, and all run in the end", function(mode)
    local workers = {
      { name = "a", argv = { "a" }, stop_ms = 300, restart_ms = 50, well_after_ms = 2000 },
      { name = "b", argv = { "b" }, stop_ms = 300, restart_ms = 50, restart_max_ms = 1000,
        give_up_after = 4 },
    }
    local c <close> = t.cluster { n = 3, mode = mode, scripts = { "scripts/worker.lua" },
      config = { workers = workers } }
    c:program("a", { ignores_stop = math.random(3) == 1 })
    c:program("b", { run_ms = { 10, 5000 }, stop_ms = 200 })
    c:program("b", { run_ms = 10, code = 1, node = math.random(3) })
    c:start()
    chaos.run(c, { seconds = 60 })
    for _, name in ipairs { "a", "b" } do
      alone.wait_for(c, name)
      alone.check(c, name)
    end
  end, { modes = { "sim" }, seeds = 4, timeout_ms = 300000 })

  t.it("one that goes by elections alone is caught on two nodes at once", function(mode)
    local c <close> = t.cluster { n = 3, mode = mode,
      scripts = { "tests/scenarios/scripts/eager_worker.lua" } }
    c:program("worker")
    c:start()
    local rounds = 0
    repeat -- one minute goes well for 2 of 1,000
      rounds = rounds + 1
      chaos.run(c, { seconds = 60, faults = { "pause", "partition", "isolate" } })
    until rounds == 5 or alone.overlap(c:programs("worker"))
    t.ok(alone.overlap(c:programs("worker")), "chaos finds what is wrong with it")
  end, { modes = { "sim" }, timeout_ms = 300000 })
end)
