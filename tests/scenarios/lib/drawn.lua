-- Judges what the world has seen of scripts that were drawn (lib/drawing.lua, scripts/drawn.lua).
local t = require "moonkeeper.test"

local drawn = {}

local function of_run(run)
  return ("%s on n%d at %.3f ms until %s, under %s in %s"):format(run.name, run.node, run.began_ms,
    run.ended_ms and ("%.3f ms (%s)"):format(run.ended_ms, run.signal or run.code) or "now",
    run.arguments:match "^%S+", run.arguments:match "%S+$")
end

local function each_of(list)
  return list == "-" and function() end or list:gmatch "[^,]+"
end

-- Of one name there is one holder at a time: programs of two never overlap, and a program counts for all that
-- it runs under.
function drawn.check_alone(runs)
  local running = {} -- by name, runs that may not have ended yet
  for _, run in ipairs(runs) do
    for held in each_of(run.arguments:match "^%S+") do
      local name, holder = held:match "^([^:]+):(.+)$"
      local left = { { run = run, holder = holder } }
      for _, other in ipairs(running[name] or {}) do
        if (other.run.ended_ms or math.huge) > run.began_ms then
          if other.holder ~= holder then
            t.fail(("two holders of %s have programs at once:\n  %s\n  %s"):format(name, of_run(other.run),
              of_run(run)))
          end
          left[#left + 1] = other
        end
      end
      running[name] = left
    end
  end
end

-- When a block is over, so are the programs that were started in it. (Events have whole ms.)
function drawn.check_blocks(runs, left)
  local over = {}
  for _, ev in ipairs(left) do
    if not ev.payload.cancelled then over[ev.payload.block] = ev.time_ms + 1 end
  end
  for _, run in ipairs(runs) do
    for block in each_of(run.arguments:match "%S+$") do
      if over[block] and (run.ended_ms or math.huge) > over[block] then
        t.fail(("block %s returned at %d ms, and a program of it ran on:\n  %s"):format(block,
          over[block] - 1, of_run(run)))
      end
    end
  end
end

-- Tokens grow from holder to holder. A leadership has one for all its runs, and for all names.
function drawn.check_tokens(held, leads)
  local last = {}
  for _, ev in ipairs(held) do
    local lock = ev.payload.lock
    t.gt(ev.payload.token, last[lock] or 0, ("the token of %s at %d ms, after the last one"):format(lock,
      ev.time_ms))
    last[lock] = ev.payload.token
  end
  local newest = 0
  for _, ev in ipairs(leads) do
    t.ge(ev.payload.token, newest, ("the token of a leadership at %d ms"):format(ev.time_ms))
    newest = ev.payload.token
  end
end

-- Nothing is written under a token when something has been written under a newer one before it began.
function drawn.check_fences(writes, wrote)
  local began = {}
  for _, ev in ipairs(writes) do began[ev.payload.id] = ev.time_ms end
  local newest, done = {}, {} -- by name: the newest token whose writing had ended by then
  for _, ev in ipairs(wrote) do
    local w = ev.payload
    for _, before in ipairs(done[w.fence] or {}) do
      if before.at_ms < began[w.id] and before.token > w.token then
        t.fail(("out/%s was written under token %d, %d ms after token %d"):format(w.fence, w.token,
          ev.time_ms - before.at_ms, before.token))
      end
    end
    if w.token > (newest[w.fence] or 0) then
      newest[w.fence] = w.token
      done[w.fence] = done[w.fence] or {}
      table.insert(done[w.fence], { token = w.token, at_ms = ev.time_ms })
    end
  end
end

-- What scripts are told, apart from the errors that they threw.
local errors = {
  "drawn", -- theirs
  "killed: it did not end in time", -- five seconds after it was cancelled, or with the lease
  "killed: its deferred functions took too long",
  "killed: over its budget", -- spin
  "^the hook.s timeout_ms is over$",
  "^the node is shutting down; generation %d+ goes on$", -- of a reload
}

function drawn.check_errors(events)
  for _, ev in ipairs(events) do
    local is_expected = false
    for _, pattern in ipairs(errors) do is_expected = is_expected or ev.message:find(pattern) end
    if not is_expected then
      t.fail(("n%d told an error at %d ms, %s: %s"):format(ev.node, ev.time_ms, ev.where, ev.message))
    end
  end
end

function drawn.judge(c)
  local runs = c:programs()
  local function told(what) return c:events { name = "drawn." .. what } end
  for _, ev in ipairs(told "wrong") do
    t.fail(("n%d at %d ms: %s"):format(ev.node, ev.time_ms, ev.payload.text))
  end
  drawn.check_alone(runs)
  drawn.check_blocks(runs, told "left")
  drawn.check_tokens(told "held", told "leads")
  drawn.check_fences(told "writes", told "wrote")
  drawn.check_errors(c:events { name = "error" })
end

return drawn
