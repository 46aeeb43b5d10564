-- Draws a script as a user might write one, out of the words of scripts/drawn.lua: Lua, to be read when it
-- has shown a fault. math.random decides, and so the seed of the run.
local drawing = {}

local random = math.random

drawing.locks = { "a", "b", "c" }
drawing.leaders = { "v", "w" }
local PROGRAMS = { "quick", "slow", "polite", "stubborn", "endless" }

local function one_of(list) return list[random(#list)] end

-- Short ones as often as long ones.
local function ms(least, most) return math.floor(least * (most / least) ^ random()) end

-- A pen: lines, how deep it is in blocks, how many statements may follow.
local function write(pen, ...)
  pen.lines[#pen.lines + 1] = ("  "):rep(pen.depth) .. string.format(...)
end

local statements

-- call(..., function(at) ... end) with statements inside. rank: of the innermost lock around it; locks are
-- waited for without end only in their order.
local function enclose(pen, rank, opening, ...)
  write(pen, opening .. "function(at)", ...)
  pen.depth = pen.depth + 1
  statements(pen, rank)
  pen.depth = pen.depth - 1
  write(pen, "end)")
end

local function program_options(timeout_ms)
  local o = {}
  if timeout_ms then o[#o + 1] = "timeout_ms = " .. timeout_ms end
  if random(3) > 1 then o[#o + 1] = "stop_ms = " .. ms(20, 7000) end
  if random(3) == 1 then o[#o + 1] = 'stdout = "drop"' end
  return "{ " .. table.concat(o, ", ") .. " }"
end

local kinds = {}

function kinds.sleep(pen) write(pen, "sleep(at, %d)", ms(1, 2000)) end

function kinds.fail(pen)
  pen.fails = pen.fails + 1
  write(pen, "if chance(at, %d) then fail(at, %q) end", random(100), "fault " .. pen.fails)
end

function kinds.run(pen) write(pen, "run(at, %q, %s)", one_of(PROGRAMS), program_options(ms(50, 10000))) end

function kinds.start(pen)
  write(pen, "local p = start(at, %q, %s)", one_of(PROGRAMS), program_options())
  local after = random(4)
  if after <= 2 then write(pen, "p:wait(%d)", ms(10, 2000)) end
  if after == 2 then write(pen, "p:stop()") end
  if after == 3 then write(pen, "p:kill(%q)", one_of { "TERM", "KILL" }) end
end

function kinds.spawn(pen, rank)
  enclose(pen, rank, "local t = spawn(at, ")
  local after = random(4)
  if after == 1 then write(pen, "join(at, t)") end
  if after == 2 then write(pen, "join(at, t, %d)", ms(10, 2000)) end
  if after == 3 then
    write(pen, "sleep(at, %d)", ms(1, 500))
    write(pen, "cancel(at, t)")
    if random(2) == 1 then write(pen, "join(at, t)") end
  end
end

function kinds.defer(pen, rank) enclose(pen, rank, "defer(at, ") end
function kinds.scope(pen, rank) enclose(pen, rank, "scope(at, ") end
function kinds.map(pen, rank) enclose(pen, rank, "map(at, %d, %d, ", random(4), random(3)) end
function kinds.within_ms(pen, rank) enclose(pen, rank, "within_ms(at, %d, ", ms(5, 3000)) end
function kinds.try(pen, rank) enclose(pen, rank, "try(at, %s, ", random(2) == 1) end
function kinds.in_coroutine(pen, rank) enclose(pen, rank, "in_coroutine(at, ") end
function kinds.event(pen) write(pen, "event(at, %d, %d)", ms(1, 300), ms(1, 300)) end
function kinds.channel(pen) write(pen, "channel(at, %d, %d)", random(5), random(3)) end
function kinds.every(pen, rank) enclose(pen, rank, "every(at, %d, %d, ", ms(20, 1000), random(3)) end
function kinds.after(pen, rank) enclose(pen, rank, "after(at, %d, ", ms(1, 1000)) end

-- Not where it would call itself for ever.
function kinds.call(pen)
  if not pen.answers then write(pen, "call(at, %q, %q, %d)", "n" .. random(3), "ask", ms(10, 4000)) end
end

function kinds.tick(pen)
  if not pen.answers then write(pen, "tick(at)") end
end

function kinds.check(pen) write(pen, "check(at)") end
function kinds.hand_over(pen) write(pen, "hand_over(at)") end
function kinds.lead_spawn(pen, rank) enclose(pen, rank, "lead_spawn(at, ") end
function kinds.spin(pen) write(pen, "spin(at, %d)", ms(1000, 300000)) end

function kinds.lease(pen, rank)
  enclose(pen, rank, "lease(at, %d, %s, ", ms(300, 6000), random(2) == 1)
end

-- Which lock, its options, and the rank inside.
local function draw_lock(rank)
  local which, o = random(#drawing.locks), {}
  local limited = which <= rank or random(2) == 1
  if limited then o[#o + 1] = "timeout_ms = " .. ms(20, 4000) end
  if random(5) > 1 then o[#o + 1] = "ttl_ms = " .. ms(300, 6000) end
  return drawing.locks[which], "{ " .. table.concat(o, ", ") .. " }", math.max(rank, which)
end

function kinds.lock(pen, rank)
  local name, options, inside = draw_lock(rank)
  enclose(pen, inside, "lock(at, %q, %s, %s, ", name, options,
    random(4) == 1 and tostring(ms(10, 4000)) or "nil")
end

function kinds.hold(pen, rank)
  local name, options, inside = draw_lock(rank)
  enclose(pen, inside, "hold(at, %q, %s, ", name, options)
end

-- The more often, the likelier.
local leaves = { "sleep", "run", "run", "run", "run", "run", "start", "start", "fail", "event", "channel",
  "call", "tick", "check", "hand_over", "spin" }
local blocks = { "spawn", "spawn", "spawn", "defer", "scope", "scope", "map", "within_ms", "within_ms", "try",
  "try", "in_coroutine", "every", "after", "lead_spawn", "lease", "hold", "lock", "lock", "lock", "lock",
  "lock", "lock" }

function statements(pen, rank)
  local count = random(3)
  for _ = 1, count do
    pen.left = pen.left - 1
    local deeper = pen.depth < 6 and pen.left > 0 and random(5) <= 3
    kinds[one_of(deeper and blocks or leaves)](pen, rank)
  end
end

-- The text of a script.
function drawing.script()
  local pen = { lines = {}, depth = 0, fails = 0 }
  local function top(size, opening, ...)
    pen.left = size
    enclose(pen, 0, opening, ...)
  end
  for _ = 1, random(3) do top(random(12), "loop(%d, ", ms(50, 1500)) end
  for i = 1, random(0, #drawing.leaders) do
    top(random(10), "leader(%q, { grace_ms = %d, on_error = %q, settle_ms = %d }, ", drawing.leaders[i],
      ms(1, 6000), one_of { "retry", "retry", "step_down", "stop" }, random(4) == 1 and ms(1, 500) or 0)
  end
  pen.answers = true
  if random(2) == 1 then top(random(8), "handler(%q, ", "ask") end
  if random(2) == 1 then top(random(6), "hook({ timeout_ms = %d }, ", ms(20, 5000)) end
  return table.concat(pen.lines, "\n") .. "\n"
end

return drawing
