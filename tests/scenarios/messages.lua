-- What scripts of different nodes say to each other, and who is online, as all are told.
local t = require "moonkeeper.test"

local function cluster(mode, o)
  o = o or {}
  o.mode, o.scripts = mode, { "tests/scenarios/scripts/messenger.lua" }
  return t.cluster(o)
end

-- Call from a node: the value, or nil and {code, message}.
local function call(node, ...)
  local found = t.ok(node:eval([[
    local value, err = mk.cluster.call(...)
    return { value = value, code = err and err.code, message = err and err.message }
  ]], ...))
  return found.value, found
end

local function seen(c, id) return call(c:node(id), "n" .. id, "seen") end

t.describe("calls between scripts", function()
  t.it("have one answer: the handler's, or why there is none", function(mode)
    local c <close> = cluster(mode)
    c:start()
    c:wait_leader()
    c:run_for(500)
    for to = 1, 3 do
      local value = call(c:node(1), "n" .. to, "echo", { a = 1 })
      t.eq(value, { payload = { a = 1 }, from = "n1", by = "n" .. to })
    end
    local function refused(code, words, ...)
      local value, err = call(c:node(1), ...)
      t.eq(value, nil)
      t.eq(err.code, code)
      t.match(err.message, words)
    end
    for to = 1, 2 do
      refused("rejected", "I will not", "n" .. to, "fail")
      refused("not_found", "no script of that node handles this topic", "n" .. to, "nothing")
      refused("timeout", "", "n" .. to, "slow", 5000, 100)
      refused("too_large", "", "n" .. to, "echo", ("x"):rep(300000))
      refused("too_large", "", "n" .. to, "large", 300000)
      t.eq(#(call(c:node(1), "n" .. to, "large", 200000)), 200000)
    end
    refused("not_found", "n9 is no member", "n9", "echo")
    c:run_until(function() return seen(c, 1).slow_left + seen(c, 2).slow_left == 2 end, 1000,
      "handlers are cancelled when nobody waits for them any more")
  end, { seeds = 5, modes = { "sim", "real" } })

  t.it("end with an error when the other node dies or is cut off", function(mode)
    local c <close> = cluster(mode)
    c:start()
    c:wait_leader()
    c:run_for(500)
    c:crash(3)
    c:run_for(500)
    local _, err = call(c:node(1), "n3", "echo", 1, 1000)
    t.eq(err.code, "unreachable")
    c:isolate(2)
    _, err = call(c:node(1), "n2", "echo", 1, 1000)
    t.ok(err.code == "timeout" or err.code == "unreachable")
    t.eq(call(c:node(1), "n1", "echo", 1).payload, 1, "to oneself works all the same")
  end, { seeds = 10, modes = { "sim", "real" } })

  t.it("are served beside each other, and too many are refused", function(mode)
    local c <close> = cluster(mode)
    c:start()
    c:wait_leader()
    c:run_for(500)
    local counts = t.ok(c:node(1):eval [[
      local calls, counts = {}, {}
      for i = 1, 2000 do calls[i] = i end
      mk.task.map(calls, 2000, function()
        local value, err = mk.cluster.call("n2", "slow", 200, 30000)
        local what = value or err.code
        counts[what] = (counts[what] or 0) + 1
      end)
      return counts
    ]])
    t.ge(counts.done, 500)
    t.eq(counts.done + counts.busy, 2000)
    t.eq(call(c:node(1), "n2", "echo", 1).payload, 1)
  end, { modes = { "sim", "real" } })

  t.it("lost frames are a timeout, or nothing at all", function(mode)
    local c <close> = cluster(mode, { loss = 0.3 })
    c:start()
    c:wait_leader(10000)
    c:run_for(500)
    local counts = t.ok(c:node(1):eval [[
      local counts = {}
      for i = 1, 50 do
        local value, err = mk.cluster.call("n2", "echo", i, 100)
        local what = value and "answered" or err.code
        counts[what] = (counts[what] or 0) + 1
        if value then assert(value.payload == i) end
      end
      return counts
    ]])
    t.gt(counts.answered, 5)
    t.gt(counts.timeout, 5)
    t.eq(counts.answered + counts.timeout, 50)
  end, { seeds = 3, modes = { "sim" } })
end)

t.describe("messages between scripts", function()
  t.it("come to the hooks of the node they are for, in the order in which they were sent", function(mode)
    local c <close> = cluster(mode)
    c:start()
    c:wait_leader()
    c:run_for(500)
    t.ok(c:node(1):eval [[
      for i = 1, 20 do
        assert(mk.cluster.send("n2", "news", { number = i }))
        assert(mk.cluster.send("n1", "own", { number = i }))
      end
      return true
    ]])
    for id, topic in ipairs { "own", "news" } do
      c:run_until(function() return #seen(c, id).messages == 20 end, 2000, "all of them")
      for i, message in ipairs(seen(c, id).messages) do
        t.eq(message, { from = "n1", topic = topic, payload = { number = i } })
      end
    end
    t.eq(c:node(1):eval [[ return select(2, mk.cluster.send("n9", "x")).code ]], "not_found")
  end, { seeds = 3, modes = { "sim", "real" } })

  t.it("in any number disturb no election and lose no leader", function(mode)
    -- On real processes a machine that is busy otherwise may disturb one.
    local c <close> = cluster(mode, mode == "real" and { election_ms = { 500, 1000 } } or nil)
    c:start()
    local leader = c:wait_leader()
    c:run_for(500)
    local mark = c:now_ms()
    for id = 1, 3 do
      t.ok(c:node(id):eval [[
        local text = ("x"):rep(200000)
        for i = 1, 60 do
          for _, m in ipairs(mk.cluster.members()) do mk.cluster.send(m.id, "bulk", text) end
        end
        return true
      ]])
    end
    c:run_for(2000)
    t.eq(#c:events { name = "leader_elected", since_ms = mark }, 0)
    t.eq(c:leader(), leader)
  end, { modes = { "sim", "real" }, timeout_ms = 60000 })
end)

t.describe("handlers and configurations", function()
  t.it("change hands when a script is loaded anew, and stay when that fails", function(mode)
    local scripts = { { script = "tests/scenarios/scripts/answerer.lua", name = "app" } }
    local c <close> = t.cluster { mode = mode, n = 1, scripts = scripts,
      config = { version = 1, same = true } }
    c:start()
    local node = c:wait_leader()
    c:run_for(200)
    t.eq(call(node, "n1", "version"), 1)
    t.ok(c:reload(1, { scripts = scripts, config = { version = 2, same = true, more = 1 } }))
    t.eq(call(node, "n1", "version"), 2)
    t.eq(c:events { name = "answerer.changed" }[1].payload, { app = "app", keys = { "version", "more" } })
    c:reload(1, { scripts = scripts, config = { version = 3, broken = true } })
    t.eq(call(node, "n1", "version"), 2, "the old one goes on")
    t.eq(#c:events { name = "answerer.changed" }, 1)
  end, { modes = { "sim" } })
end)

-- What a node was told of the members, as its latest word on each.
local function told(c, node)
  local view = {}
  for _, name in ipairs { "node_online", "node_offline" } do
    for _, ev in ipairs(c:events { name = name, node = node }) do
      if not view[ev.id] or ev.time_ms >= view[ev.id].time_ms then
        view[ev.id] = { online = name == "node_online", time_ms = ev.time_ms }
      end
    end
  end
  for id, word in pairs(view) do view[id] = word.online end
  return view
end

local function all_told(c, view, nodes)
  return function()
    for _, id in ipairs(nodes or { 1, 2, 3 }) do
      if not pcall(t.eq, told(c, id), view) then return false end
    end
    return true
  end
end

local function all_but(id) return { n1 = id ~= 1, n2 = id ~= 2, n3 = id ~= 3 } end

local ALL = { n1 = true, n2 = true, n3 = true }

t.describe("who is online", function()
  t.it("is told to all nodes, of a follower and of a leader, and of their return", function(mode)
    local c <close> = cluster(mode)
    c:start()
    c:run_until(all_told(c, ALL), 5000, "all are online")
    for _ = 1, 2 do
      local leader = c:wait_leader()
      local id = leader.id % 3 + 1
      local rest = { leader.id, id % 3 + 1 }
      c:stop(id)
      c:run_until(all_told(c, all_but(id), rest), 5000, "a follower is offline")
      c:restart(id)
      c:run_until(all_told(c, ALL), 10000, "it is back")
      id = c:wait_leader().id
      c:crash(id)
      rest = { id % 3 + 1, (id + 1) % 3 + 1 }
      c:run_until(all_told(c, all_but(id), rest), 10000, "the leader is offline")
      c:restart(id)
      c:run_until(all_told(c, ALL), 10000, "it is back as well")
    end
    local members = t.ok(c:wait_leader():eval "return mk.cluster.members()")
    for _, m in ipairs(members) do t.eq(m.online, true) end
  end, { seeds = 4, modes = { "sim", "real" }, timeout_ms = 60000 })

  t.it("is not news when only the leader changes", function(mode)
    local c <close> = cluster(mode)
    c:start()
    c:run_until(all_told(c, ALL), 5000, "all are online")
    c:run_for(100)
    local mark = c:now_ms()
    for _ = 1, 5 do
      t.ok(c:transfer(c:wait_leader().id % 3 + 1))
      c:run_for(1000)
    end
    t.eq(#c:events { name = "node_online", since_ms = mark }, 0)
    t.eq(#c:events { name = "node_offline", since_ms = mark }, 0)
  end, { seeds = 5, modes = { "sim" } })

  t.it("a path that comes and goes is told ever more rarely", function(mode)
    local c <close> = cluster(mode)
    c:start()
    local leader = c:wait_leader()
    c:run_until(all_told(c, ALL), 5000, "all are online")
    local id = leader.id % 3 + 1
    local mark = c:now_ms()
    for _ = 1, 30 do
      c:cut(id, leader.id)
      c:run_for(600)
      c:mend(id, leader.id)
      c:run_for(700)
    end
    t.le(#c:events { name = "node_offline", node = leader.id, since_ms = mark }, 8)
    c:run_until(all_told(c, ALL), 60000, "and in the end it is online for all")
  end, { seeds = 5, modes = { "sim" }, timeout_ms = 200000 })

  t.it("is replayed to a hook that asks for it, of every node", function(mode)
    local c <close> = cluster(mode)
    c:start()
    c:run_until(all_told(c, ALL), 5000, "all are online")
    local leader = c:wait_leader()
    local id = leader.id % 3 + 1
    c:crash(id)
    c:run_until(function() return told(c, leader.id)["n" .. id] == false end, 5000, "it is offline")
    local names = t.ok(leader:eval [[
      local names = { online = {}, offline = {} }
      for kind, list in pairs(names) do
        mk.on("node_" .. kind, function(ev) list[#list + 1] = ev.id end, { replay = true })
      end
      mk.task.sleep(50)
      table.sort(names.online)
      return names
    ]])
    t.eq(names.offline, { "n" .. id })
    t.eq(#names.online, 2)
  end, { seeds = 3, modes = { "sim" } })
end)

t.describe("a quorum", function()
  t.it("is lost on the leader that is cut off, and regained when it knows a leader again", function(mode)
    local c <close> = cluster(mode)
    c:start()
    local leader = c:wait_leader()
    c:isolate(leader.id)
    c:run_until(function() return #c:events { name = "quorum_lost", node = leader.id } == 1 end, 5000)
    c:heal()
    c:run_until(function() return #c:events { name = "quorum_regained", node = leader.id } == 1 end, 5000)
    local back = c:events { name = "quorum_regained", node = leader.id }[1]
    t.eq(back.needed, 2)
    t.ge(back.reachable, 2)
  end, { seeds = 5, modes = { "sim" } })
end)
