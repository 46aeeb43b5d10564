-- t.cluster: a cluster, simulated or of real processes, and its nodes. Thin: what is done is done by
-- the driver (src/scenario), which is asked with core.request.
local core = require "moonkeeper.core"
local check = require "moonkeeper.test.check"
local expect = require "moonkeeper.test.expect"

local LEADER_TIMEOUT_MS = 5000
local PROPOSE_TIMEOUT_MS = 5000
local HTTP_TIMEOUT_MS = 10000

local Cluster, Node = { __name = "cluster" }, { __name = "node" }
Cluster.__index, Node.__index = Cluster, Node

local misuse = expect.misuse

-- Misuse raises; what may be expected to fail returns nil and the error.
local function ask(...)
  local result, err = core.request(...)
  if err and err.code == "invalid" then misuse(err.message) end
  return result, err
end

-- What must not fail: what a test does to its cluster.
local function must(...)
  local result, err = core.request(...)
  if err then expect.raise(tostring(err)) end
  return result
end

-- Nothing of what is waited for comes without time going on. Who has waited for long looks less often, by a
-- thousandth of that time: a condition may be awaited for a simulated week.
local function pause(c, began_ms)
  core.sleep(math.max(c.poll_ms, (core.now_ms() - began_ms) // 1000))
end

-- Cluster -----------------------------------------------------------------------------------------

function Cluster.new(options, mode)
  if type(options) == "table" then check.mode(options.mode, mode) end
  local opened, err = core.request("cluster_open", options or {})
  if not opened then misuse(err.message) end
  local c = setmetatable({
    number = opened.number,
    n = opened.nodes,
    hosts = opened.nodes + opened.spares,
    mode = mode,
    poll_ms = mode == "sim" and 1 or 20,
    patience = core.config().patience, -- how many times as long a wait may take (--patience)
    members = {},
    isolated = {},
    cuts = {},
  }, Cluster)
  for id = 1, c.hosts do c.members[id] = setmetatable({ id = id, cluster = c }, Node) end
  return c
end

function Cluster:node(id)
  local node = self.members[id]
  if not node then
    misuse(("there is no node %s; they are numbered 1 to %d"):format(tostring(id), self.hosts))
  end
  return node
end

function Cluster:nodes() return table.move(self.members, 1, self.hosts, 1, {}) end

-- All that do not run, or one. Returns when they do. That a cluster starts is no question: a test need not
-- look at what is returned. One node may be expected not to.
function Cluster:start(id) return (id and ask or must)("cluster_start", self.number, id) end

function Cluster:restart(id) return ask("cluster_start", self.number, self:node(id).id) end

function Cluster:stop(id) must("cluster_stop", self.number, self:node(id).id) end

function Cluster:crash(id, how)
  must("cluster_crash", self.number, self:node(id).id, check.options("crash", how) or {})
end

function Cluster:pause(id) must("cluster_pause", self.number, self:node(id).id, true) end

function Cluster:resume(id) must("cluster_pause", self.number, self:node(id).id, false) end

function Cluster:wipe(id) must("cluster_wipe", self.number, self:node(id).id) end

-- Have a node load its scripts anew, as SIGHUP does. opts: scripts, config (as of t.cluster; without opts the
-- same files again), which it also has at later starts. Returns { app, generation, outcome, error } for each
-- application: what became of it; or nil and an error.
function Cluster:reload(id, opts)
  local answer, err = ask("cluster_reload", self.number, self:node(id).id, check.options("reload", opts))
  return answer and answer.apps, err
end

local function close(c)
  local _, err = core.request("cluster_close", c.number, true)
  if err then expect.raise(err.message) end
end

-- Stop it for good, and check that nothing was violated. A cluster that is forgotten is closed, and
-- checked, when its test ends.
function Cluster:close()
  if not self.closed then
    self.closed = true
    close(self)
  end
end

-- Of `local c <close> = t.cluster{}`. After an error there is nothing to check: the test has failed.
function Cluster:__close(err)
  if self.closed then return end
  self.closed = true
  if err == nil then
    close(self)
  else
    core.request("cluster_close", self.number, false)
  end
end

-- Links -------------------------------------------------------------------------------------------

local function is_cut(c, from, to)
  return (c.isolated[from] or c.isolated[to] or c.cuts[from .. ">" .. to]) and true or false
end

local function update_link(c, from, to)
  must("cluster_cut", c.number, from, to, is_cut(c, from, to))
end

-- The two ends of a link.
local function check_link(c, from, to)
  if c:node(from) == c:node(to) then
    misuse(("from n%d to n%d there is no link: they are the same node"):format(from, to))
  end
end

local function set_cut(c, from, to, cut)
  check_link(c, from, to)
  c.cuts[from .. ">" .. to] = cut or nil
  update_link(c, from, to)
end

local function set_isolated(c, id, isolated)
  c.isolated[c:node(id).id] = isolated or nil
  for other = 1, c.hosts do
    if other ~= id then
      update_link(c, id, other)
      update_link(c, other, id)
    end
  end
end

-- One way.
function Cluster:cut(from, to) set_cut(self, from, to, true) end

function Cluster:mend(from, to) set_cut(self, from, to, nil) end

-- From all others, until connect() or heal().
function Cluster:isolate(id) set_isolated(self, id, true) end

function Cluster:connect(id) set_isolated(self, id, nil) end

function Cluster:is_isolated(id) return self.isolated[self:node(id).id] or false end

-- One group alone would cut nothing.
local function check_groups(c, ...)
  local groups = { ... }
  for i = 1, math.max(2, select("#", ...)) do
    if type(groups[i]) ~= "table" then
      misuse(("partition(group, group, ...): a group is a list of nodes, as {1, 2}, not %s"):format(
        tostring(groups[i])))
    end
    for _, id in ipairs(groups[i]) do c:node(id) end
  end
  return groups
end

-- The nodes of one group hear each other, and nobody else of another group. Who is in two hears both.
function Cluster:partition(...)
  local together, all = {}, {}
  local groups = check_groups(self, ...)
  for _, group in ipairs(groups) do
    for _, from in ipairs(group) do
      all[#all + 1] = from
      for _, to in ipairs(group) do together[from .. ">" .. to] = true end
    end
  end
  for _, from in ipairs(all) do
    for _, to in ipairs(all) do
      if from ~= to then set_cut(self, from, to, not together[from .. ">" .. to] or nil) end
    end
  end
end

-- All links as they were at first: no cuts, delays or drops.
function Cluster:heal()
  self.isolated, self.cuts = {}, {}
  must("cluster_heal", self.number)
end

-- nil for from or to: all.
local function each_link(c, from, to, fn)
  if from and to then check_link(c, from, to) end
  if from then c:node(from) end
  if to then c:node(to) end
  for f = from or 1, from or c.hosts do
    for t = to or 1, to or c.hosts do
      if f ~= t then fn(f, t) end
    end
  end
end

-- opts: type (of message), probability (per frame; others take the time they took before)
function Cluster:delay(from, to, min_ms, max_ms, opts)
  opts = check.options("delay", opts) or {}
  check.ms("delay(from, to, min_ms, max_ms, opts)", "min_ms", min_ms)
  check.ms("delay(from, to, min_ms, max_ms, opts)", "max_ms", max_ms or min_ms)
  each_link(self, from, to, function(f, t)
    must("cluster_delay", self.number, f, t, { min_ms = min_ms, max_ms = max_ms or min_ms,
      type = opts.type, probability = opts.probability })
  end)
end

-- opts: type, count (so many, then no more)
function Cluster:drop(from, to, p, opts)
  opts = check.options("drop", opts) or {}
  check.probability("drop(from, to, p, opts)", "p", p)
  each_link(self, from, to, function(f, t)
    must("cluster_drop", self.number, f, t, { p = p, type = opts.type, count = opts.count })
  end)
end

function Cluster:skew(id, offset_ms, ppm)
  must("cluster_skew", self.number, self:node(id).id, offset_ms or 0, ppm or 0)
end

-- The clock on the wall is set, as by a person or by NTP; of one node, or of all.
function Cluster:set_wall(id, wall_ms)
  for _, node in ipairs(id and { self:node(id) } or self:nodes()) do
    must("cluster_set_wall", self.number, node.id, wall_ms)
  end
end

function Cluster:disk(id, kind, opts)
  must("cluster_disk", self.number, self:node(id).id, kind, check.options("disk", opts) or {})
end

-- What mk.exec runs under this name, from now on (simulation). opts: run_ms (a number or { least, most }; for
-- ever), code, stdout, stderr, stop_ms (it exits so long after it was asked to stop), ignores_stop, node
-- (only there; before what all have)
function Cluster:program(name, opts)
  ask("cluster_program", self.number, name, check.options("program", opts) or {})
end

-- The runs of programs, of one name or all, in the order of their beginnings (simulation).
function Cluster:programs(name)
  local runs = {}
  for _, run in ipairs(ask("cluster_programs", self.number)) do
    if not name or run.name == name then runs[#runs + 1] = run end
  end
  return runs
end

-- What answers the HTTP requests of scripts to this URL, and to all that begin with it, from now on. opts:
-- status (200; a list: one after another, the last one for all later ones), body, headers, latency_ms (a
-- number or { least, most }), fails (probability; in what way is drawn), down, refuses (a list of nodes)
function Cluster:http_server(url, opts)
  local given = {}
  for name, value in pairs(check.options("http_server", opts) or {}) do given[name] = value end
  if type(given.status) == "table" then given.status = core.array(given.status) end
  given.refuses = given.refuses and core.array(given.refuses)
  ask("cluster_http_server", self.number, url, given)
end

-- A list of names and values as a table; names in lower case.
local function fields_of(list)
  local headers = {}
  for i = 1, #list, 2 do
    local name = list[i]:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. list[i + 1] or list[i + 1]
  end
  return headers
end

-- The requests that were received, of one URL or all: { at_ms, node, method, url, headers, body, status,
-- answered }. status is nil where no answer was sent; answered: it arrived.
function Cluster:http_requests(url)
  local requests = {}
  for _, request in ipairs(ask("cluster_http_requests", self.number)) do
    if not url or request.url == url then
      request.headers = fields_of(request.headers)
      requests[#requests + 1] = request
    end
  end
  return requests
end

-- Time --------------------------------------------------------------------------------------------

function Cluster:now_ms() return core.now_ms() end -- luacheck: ignore self

function Cluster:run_for(ms) core.sleep(check.ms("run_for(ms)", "ms", ms)) end -- luacheck: ignore self

-- Until pred returns something: that. pred may ask whatever a test may.
function Cluster:run_until(pred, timeout_ms, message)
  check.ms("run_until(pred, timeout_ms, message)", "timeout_ms", timeout_ms)
  timeout_ms = timeout_ms * self.patience
  local began_ms = core.now_ms()
  local end_ms = began_ms + timeout_ms
  repeat
    local value = pred()
    if value then return value end
    pause(self, began_ms)
  until core.now_ms() > end_ms
  expect.raise(("not within %d ms"):format(timeout_ms), message)
end

-- opts.among, or nil.
local function check_among(c, verb, opts)
  local among = opts and check.options(verb, opts).among
  for _, id in ipairs(among or {}) do c:node(id) end
  return among
end

-- The node that leads in the highest term, if any does. opts.among: only these ids are asked.
function Cluster:leader(opts)
  local found = ask("cluster_leader", self.number, check_among(self, "leader", opts), false)
  return found and self.members[found] or nil
end

local function describe(c)
  local lines = {}
  for id = 1, c.hosts do
    local s, err = core.request("node_control", c.number, id, "state", {})
    lines[#lines + 1] = s and ("  n%d %s in term %d, log up to %d, committed up to %d"):format(id,
      s.role, s.term, s.last_index, s.commit_index) or ("  n%d: %s"):format(id, err.message)
  end
  return table.concat(lines, "\n")
end

-- Until some node leads, and a no-op of its own is committed.
function Cluster:wait_leader(timeout_ms, opts)
  timeout_ms = check.ms("wait_leader(timeout_ms, opts)", "timeout_ms", timeout_ms or LEADER_TIMEOUT_MS)
  timeout_ms = timeout_ms * self.patience
  local among = check_among(self, "wait_leader", opts)
  local began_ms = core.now_ms()
  local end_ms = began_ms + timeout_ms
  repeat
    local found = ask("cluster_leader", self.number, among, true)
    if found then return self.members[found] end
    pause(self, began_ms)
  until core.now_ms() > end_ms
  expect.raise(("no leader within %d ms\n%s"):format(timeout_ms, describe(self)))
end

-- Commands ----------------------------------------------------------------------------------------

-- Whom a client would ask: the leader, or whoever runs.
local function spokesman(c)
  local leader = c:leader()
  if leader then return leader end
  for _, node in ipairs(c.members) do
    if node:alive() then return node end
  end
end

local function nobody(timeout_ms)
  core.sleep(timeout_ms)
  return nil, core.error("not_leader", "no node runs")
end

function Cluster:propose(sm, cmd, args, opts)
  check.options("propose", opts)
  local node = spokesman(self)
  if not node then return nobody(opts and opts.timeout_ms or PROPOSE_TIMEOUT_MS) end
  return node:propose(sm, cmd, args, opts)
end

function Cluster:query(sm, name, args, opts)
  check.options("query", opts)
  local node = spokesman(self)
  if not node then return nobody(opts and opts.timeout_ms or PROPOSE_TIMEOUT_MS) end
  return node:query(sm, name, args, opts)
end

-- Into the log of the leader, or of opts.node if that leads: its index and term, at once, whether or
-- not it will be committed.
function Cluster:submit(bytes, opts)
  check.options("submit", opts)
  if opts and opts.node then return self:node(opts.node):submit(bytes) end
  local began_ms = core.now_ms()
  local end_ms = began_ms + (opts and opts.timeout_ms or PROPOSE_TIMEOUT_MS)
  local index, err
  repeat
    local leader = self:leader()
    if leader then
      index, err = leader:submit(bytes)
      if index then return index, err end
    end
    pause(self, began_ms)
  until core.now_ms() > end_ms
  return nil, err or core.error("not_leader", "there is no leader")
end

-- How many running nodes have applied the entry at index; the bytes, if it was submitted.
function Cluster:committed(index)
  local count, bytes = 0, nil
  for _, node in ipairs(self.members) do
    local applied = core.request("node_control", self.number, node.id, "applied", { index })
    if applied ~= nil and applied ~= core.null then
      count = count + 1
      bytes = type(applied) == "string" and applied or bytes
    end
  end
  return count, bytes
end

-- Members -----------------------------------------------------------------------------------------

-- Asks the leader: the members then, or nil and why not.
local function change_members(c, method, opts, ...)
  local timeout_ms = opts and opts.timeout_ms or PROPOSE_TIMEOUT_MS
  local leader = c:leader()
  if not leader then return nil, core.error("not_leader", "there is no leader") end
  local params = core.array { ... }
  params[#params + 1] = timeout_ms
  return ask("node_call", c.number, leader.id, method, params)
end

-- Starts the spare if it does not run, adds it as a learner, and has it vote once it has caught up.
-- opts: timeout_ms (of each of the two changes), voter (false: it stays a learner)
function Cluster:add(id, opts)
  check.options("add", opts)
  local node = self:node(id)
  if not node:alive() then
    local started, err = self:start(id)
    if not started then return nil, err end
  end
  local status, err = node:status()
  if not status then return nil, err end
  local members
  members, err = change_members(self, "members_add", opts, tostring(node), status.addr)
  if not members or opts and opts.voter == false then return members, err end
  return change_members(self, "members_promote", opts, tostring(node))
end

function Cluster:remove(id, opts)
  return change_members(self, "members_remove", check.options("remove", opts), tostring(self:node(id)))
end

-- Leadership goes to this node, or to whoever is best prepared.
function Cluster:transfer(id, opts)
  check.options("transfer", opts)
  local leader = self:leader()
  if not leader then return nil, core.error("not_leader", "there is no leader") end
  return ask("node_call", self.number, leader.id, "transfer",
    { id and "n" .. self:node(id).id or core.null, opts and opts.timeout_ms or PROPOSE_TIMEOUT_MS })
end

-- Looking -----------------------------------------------------------------------------------------

-- In order of time. filter: name, node, since_ms
function Cluster:events(filter)
  filter = check.options("events", filter) or {}
  check.event("events", filter.name)
  if filter.node then self:node(filter.node) end
  return must("cluster_events", self.number, filter)
end

-- Requests sent, and their bytes. filter: node, type ("append", "vote", "snapshot", "timeout_now")
function Cluster:rpcs(filter)
  filter = check.options("rpcs", filter) or {}
  if filter.node then self:node(filter.node) end
  local sum = must("cluster_rpcs", self.number, filter)
  return sum.count, sum.bytes
end

-- Raises if something is violated.
function Cluster:check(rule)
  local _, err = ask("cluster_check", self.number, rule)
  if err then expect.raise(err.message) end
end

-- Every step from now on goes into a file.
function Cluster:trace(path) must("cluster_trace", self.number, path) end

-- Node --------------------------------------------------------------------------------------------

function Node:__tostring() return "n" .. self.id end

local function control(node, method, ...)
  return ask("node_control", node.cluster.number, node.id, method, core.array { ... })
end

-- All at one moment, which two questions need not be.
function Node:state() return control(self, "state") end

local function state(field)
  return function(node)
    local now, err = node:state()
    if not now then return nil, err end
    return now[field]
  end
end

Node.role = state "role"
Node.term = state "term"
Node.commit_index = state "commit_index"
Node.last_applied = state "last_applied"
Node.last_index = state "last_index"

function Node:alive() return ask("node_alive", self.cluster.number, self.id) end

function Node:leader()
  local now, err = control(self, "state")
  return now and now.leader and self.cluster.members[now.leader] or nil, err
end

-- { term, kind, bytes } of an entry, nil if there is none.
function Node:log(index)
  local entry, err = control(self, "log", index)
  return entry ~= core.null and entry or nil, err
end

-- { term, voted_for }
function Node:vote() return control(self, "vote") end

-- What its scripts add to the page of /metrics: { ['moonkeeper_script_jobs_total{app="app"}'] = 3 }.
function Node:metrics()
  local lines, err = control(self, "metrics")
  if not lines then return nil, err end
  local values = {}
  for name, value in lines:gmatch "([^#\n][^\n]*) (%S+)\n" do values[name] = tonumber(value) end
  return values
end

function Node:campaign() return control(self, "campaign") end

function Node:submit(bytes)
  local at, err = control(self, "submit", bytes)
  if not at then return nil, err end
  return at[1], at[2]
end

function Node:reload(opts) return self.cluster:reload(self.id, opts) end

function Node:eval(source, ...)
  local results, err = control(self, "eval", source, ...)
  if not results then return nil, err end
  return table.unpack(results)
end

-- What `moonkeeper status` shows.
function Node:status() return ask("node_call", self.cluster.number, self.id, "status", core.array {}) end

-- Ask the node over HTTP: { status, headers, body }, whatever the status is. In simulation there are the
-- routes of its scripts alone. opts: headers, timeout_ms (10000)
function Node:http(method, path, body, opts)
  check.options("http", opts)
  local fields = core.array {}
  for name, value in pairs(opts and opts.headers or {}) do
    fields[#fields + 1] = name
    fields[#fields + 1] = tostring(value)
  end
  local answer, err = ask("node_http", self.cluster.number, self.id, method, path, body or "", fields,
    opts and opts.timeout_ms or HTTP_TIMEOUT_MS)
  if not answer then return nil, err end
  return { status = answer[1], headers = fields_of(answer[2]), body = answer[3] }
end

local function call(node, method, name, command, args, opts)
  if type(name) ~= "string" or type(command) ~= "string" then
    misuse(("%s(machine, name, args, opts): machine and name are text"):format(method))
  end
  opts = check.options(method, opts) or {}
  local given = { timeout_ms = PROPOSE_TIMEOUT_MS }
  for key, value in pairs(opts) do given[key] = value end
  return ask("node_call", node.cluster.number, node.id, method,
    { name, command, args == nil and core.null or args, given })
end

function Node:propose(sm, cmd, args, opts) return call(self, "propose", sm, cmd, args, opts) end

function Node:query(sm, name, args, opts) return call(self, "query", sm, name, args, opts) end

return Cluster
