-- Files of scripts: each node's own, durable once written, never half of one.
local t = require "moonkeeper.test"

t.describe("mk.fs", function()
  t.it("each node has its own files, which outlive process and machine once they are written", function(mode)
    local c <close> = t.cluster { n = 2, mode = mode }
    c:start()
    c:wait_leader()
    for id = 1, 2 do
      t.eq(c:node(id):eval("return mk.fs.write('state/id', ...)", "n" .. id), true)
    end
    local _, code, message = c:node(1):eval("local d, e = mk.fs.read 'other' return d, e.code, tostring(e)")
    t.eq(code, "not_found")
    t.match(message, "other: there is no such file")
    for _, how in ipairs { {}, { host = true } } do
      c:crash(1, how)
      c:restart(1)
      t.eq(c:node(1):eval("return mk.fs.read 'state/id'"), "n1")
      t.eq(c:node(2):eval("return mk.fs.read 'state/id'"), "n2")
    end
  end, { modes = { "sim", "real" }, seeds = 3 })

  t.it("a machine that fails in the middle leaves the old content or the new one", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode }
    c:start()
    c:wait_leader()
    local seen, durable = {}, 0
    for round = 1, 16 do
      c:node(1):eval([[do
        mk.task.spawn(function(n) mk.fs.write('x', (n .. ';'):rep(2000)) mk.kv.set('done', n) end, ...)
      end]], round)
      c:run_for(round == 1 and 0 or round == 2 and 100 or math.random(0, 12))
      c:crash(1, { host = true })
      c:restart(1)
      c:wait_leader()
      local done = c:query("kv", "get", { key = "done" })
      durable = done and done.value or durable
      local content = c:node(1):eval("return mk.fs.read 'x' or ''")
      local number = math.tointeger(tonumber(content:match "^(%d+);")) or 0
      t.eq(content, number > 0 and (number .. ";"):rep(2000) or "")
      t.ge(number, durable)
      seen[number == round] = true
    end
    t.ok(seen[true] and seen[false], "at least the first crash came before, and the second after")
  end, { modes = { "sim" }, seeds = 2, timeout_ms = 120000 })

  t.it("a disk that fails is told to who writes or reads, and leaves the old content", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode }
    c:start()
    c:wait_leader()
    local function write(text)
      return c:node(1):eval("local d, e = mk.fs.write('x', ...) return d or e.code", text)
    end
    t.eq(write "old", true)
    for kind, code in pairs { full = "no_space", write_fail = "io", fsync_fail = "io" } do
      c:disk(1, kind, { of = "scripts" })
      t.eq(write(("new"):rep(10000)), code)
      c:disk(1, "ok")
      t.eq(c:node(1):eval "return mk.fs.read 'x'", "old")
    end
    c:disk(1, "read_fail", { of = "scripts" })
    t.eq(c:node(1):eval "local d, e = mk.fs.read 'x' return e.code", "io")
    c:disk(1, "ok")
    c:disk(1, "slow", { of = "scripts", ms = 500 })
    local began = c:now_ms()
    t.eq(write "new", true)
    t.ge(c:now_ms() - began, 500)
    t.ok(c:propose("kv", "set", { key = "a", value = 1 }), "the disk of the log was well throughout")
    local good, mistake = pcall(c.disk, c, 1, "flip", { of = "scripts" })
    t.ok(not good)
    t.match(tostring(mistake), "for the disk of the log")
  end, { modes = { "sim" } })

  t.it("a path that leads elsewhere is refused", function(mode)
    local c <close> = t.cluster { n = 1, mode = mode }
    c:start()
    c:wait_leader()
    for _, path in ipairs { "", "..", "a/../b", "./a", "a//b", "a/", "/", ("a"):rep(1025), "a\0b" } do
      t.err("rejected", c:node(1):eval("return mk.fs.read(...)", path))
    end
    local _, code = c:node(1):eval("local d, e = mk.fs.write('a', ('x'):rep((4 << 20) + 1)) return d, e.code")
    t.eq(code, "too_large")
  end, { modes = { "sim", "real" } })
end)
