-- Scripts that nobody has thought of, drawn by the seed, in chaos: locks in locks, tasks, timeouts, errors,
-- programs that do not listen, handlers that ask for locks themselves, and reloads in between. When a seed
-- fails, its two scripts are printed; scripts/drawn.lua has their words.
--
-- What must be so (lib/drawn.lua judges):
-- 1. Programs under the name of a lock or while_leader never run beside those of another holder of it, or of
--    another run; a program counts for all the locks around it. Not for mk.lock.acquire, which ends none of
--    them, nor where a timer leaves its lock for the scope that it belongs to.
-- 2. Tokens grow from holder to holder, and nothing is written under one older than one shown before.
-- 3. When a scope, map, with_timeout or lock.with has returned, no program that was started in it runs; but
--    where the caller was cancelled, it does not wait for that.
-- 4. A task that was cancelled is told so by every later wait, of whatever kind, but in deferred functions.
-- 5. Nothing is told as an error but what scripts threw, and what was killed because it took too long.
-- 6. When chaos is over and the scripts are asked to stop, all tasks and programs end, and every node can
--    have every lock.
local mk = require "moonkeeper"
local t = require "moonkeeper.test"
local chaos = require "lib.chaos"
local drawing = require "lib.drawing"
local drawn = require "lib.drawn"

local SCRIPT = "tests/scenarios/scripts/drawn.lua"
local SECONDS = 20

local function programs(c)
  c:program("quick", { run_ms = { 5, 300 } })
  c:program("slow", { run_ms = { 100, 8000 } })
  c:program("polite", { run_ms = { 1000, 30000 }, stop_ms = math.random(2000) })
  c:program("stubborn", { run_ms = { 500, 20000 }, ignores_stop = true })
  c:program("endless", { stop_ms = math.random(3) == 1 and 300 or nil })
end

local function draw(names)
  local sources = {}
  for _, name in ipairs(names) do
    sources[#sources + 1] = { source = drawing.script() }
    print(("---- script %s"):format(name))
    print(sources[#sources].source)
  end
  return sources
end

-- Is there a task of the script, or a program, left?
local function busy(c)
  for id = 1, c.n do
    local status = c:node(id):status()
    if not status then return true end
    for _, app in ipairs(status.apps) do
      if app.app == "drawn" and app.tasks > 0 then return true end
    end
  end
  for _, run in ipairs(c:programs()) do
    if not run.ended_ms then return true end
  end
  return false
end

t.describe("scripts that were drawn, in chaos", function()
  t.it("keep what the guide promises", function(mode)
    local configs = draw { "1", "2" }
    local c <close> = t.cluster { n = 3, mode = mode, scripts = { SCRIPT }, config = configs[1] }
    programs(c)
    c:start()
    local reloads = {}
    chaos.run(c, { seconds = SECONDS, every_ms = { 50, 2000 }, lasts_ms = { 50, 8000 }, between = function()
      if math.random(6) > 1 then return end
      local id, config = math.random(c.n), configs[math.random(2)]
      if c:node(id):alive() then
        reloads[#reloads + 1] = mk.task.spawn(function()
          c:reload(id, { scripts = { SCRIPT }, config = config })
        end)
      end
    end })
    for _, reload in ipairs(reloads) do reload:join() end
    local since_ms = c:now_ms()
    repeat -- a node may just have been started again
      for id = 1, c.n do c:node(id):eval 'mk.emit("drawn.stop")' end
      c:run_for(500)
      t.le(c:now_ms() - since_ms, 120000, "all tasks and programs end")
    until not busy(c)
    for id = 1, c.n do
      for _, lock in ipairs(drawing.locks) do
        t.ok(c:node(id):eval(("return mk.lock.with(%q, { timeout_ms = 20000 }, function() return true end)")
          :format(lock)))
      end
    end
    drawn.judge(c)
  end, { modes = { "sim" }, seeds = 3, timeout_ms = 900000 })
end)
