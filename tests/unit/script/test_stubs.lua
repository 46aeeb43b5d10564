-- Holds what is declared for editors and luacheck against a node: every function is on both sides, every
-- method and global too. Run by test_host_docs.c, which gives it the files as its configuration.
local mk = require "moonkeeper"

-- The stubs' own objects are locals: give them names to be found by.
local source = mk.config.get("stubs"):gsub("\nlocal (%u%w*) = {}",
  "\nmk['class %1'] = {} local %1 = mk['class %1']")
local stubs = assert(load(source, "=stubs", "t", {}))()

local function names(prefix, t, into)
  for name, value in pairs(t) do
    if type(value) == "table" and name ~= "null" and not name:match "^class " then
      names(prefix .. name .. ".", value, into)
    elseif not name:match "^class " then
      into[prefix .. name] = true
    end
  end
  return into
end

local function compare(what, declared, real)
  for name in pairs(declared) do
    if not real[name] then mk.log.error("NO: declared, not there: " .. what .. name) end
  end
  for name in pairs(real) do
    if not declared[name] then mk.log.error("NO: there, not declared: " .. what .. name) end
  end
end

compare("mk.", names("", stubs, {}), names("", mk, {}))

-- Objects: that they have the declared methods and, where Lua can list them, no others.
local function compare_methods(class, object)
  for name in pairs(stubs["class " .. class]) do
    if type(object[name]) ~= "function" then
      mk.log.error("NO: declared, not there: " .. class .. ":" .. name)
    end
  end
  local meta = getmetatable(object)
  for name in pairs(type(meta) == "table" and meta or {}) do
    if not name:match "^__" and not stubs["class " .. class][name] then
      mk.log.error("NO: there, not declared: " .. class .. ":" .. name)
    end
  end
end

-- The globals, and the fields of the libraries. What only raises an error is not declared.
local refusals = {
  ["io.lines"] = true, ["io.open"] = true, ["io.read"] = true, ["io.write"] = true, ["os.exit"] = true,
}
local std = { stds = {} }
assert(load(mk.config.get("luacheckrc"), "=luacheckrc", "t", std))()
local declared, real = {}, {}
for key, value in pairs(std.stds.moonkeeper.globals) do
  if type(key) == "number" then
    declared[value] = true
  else
    for field in pairs(value.fields) do declared[key .. "." .. field] = true end
  end
end
for name, value in pairs(_G) do
  if type(value) ~= "table" or name == "_G" then
    real[name] = true
  else
    for field in pairs(value) do
      if not refusals[name .. "." .. field] then real[name .. "." .. field] = true end
    end
  end
end
compare("", declared, real)

compare_methods("Hook", mk.on("leader_ready", print))
compare_methods("Task", mk.task.spawn(function() end))
compare_methods("Timer", mk.timer.after(1000, print))
compare_methods("Schedule", mk.cron.parse("@daily"))
compare_methods("TaskEvent", mk.task.event())
compare_methods("Channel", mk.task.channel())
compare_methods("Counter", mk.metrics.counter("a_total"))
compare_methods("Gauge", mk.metrics.gauge("b"))
compare_methods("Histogram", mk.metrics.histogram("c_seconds"))
compare_methods("Route", mk.http.route("GET", "/x", print))
mk.task.spawn(function() compare_methods("Process", assert(mk.exec.spawn { "true" })) end)
mk.while_leader("x", function(lead)
  compare_methods("Lead", lead)
  mk.log.info("all is compared")
end)
