---@meta moonkeeper.test
-- What `require "moonkeeper.test"` returns, for the Lua language server: tests of clusters and scripts, run
-- by `moonkeeper test FILE`. Described in tests/README.md.
--
-- Times are in ms. Nodes are numbered from 1. Functions marked @async wait: in simulation no real time passes.

---@class t
local t = {}

---@alias t.Mode "sim"|"real"
---@alias t.Message "vote"|"append"|"snapshot"|"timeout_now"|"vote_reply"|"append_reply"|"snapshot_reply"|"other"|"requests"|"replies"|"all"

-- Tests -------------------------------------------------------------------------------------------

---@class t.CaseOptions
---@field modes t.Mode[]? where it can run; both
---@field seeds integer? in simulation, runs with the seeds 1 to this; 1
---@field timeout_ms integer? of the test's own time; 60000

---A group of tests; may be nested.
---@param name string
---@param fn fun()
function t.describe(name, fn) end

---@param name string
---@param fn fun(mode: t.Mode)
---@param opts t.CaseOptions?
function t.it(name, fn, opts) end

---In a test: skip it in the other mode. Outside: all tests that follow in this group, or file.
---@param mode t.Mode
function t.requires(mode) end

-- Expectations ------------------------------------------------------------------------------------

---Equal, tables by their contents.
---@param actual any
---@param expected any
---@param message string?
function t.eq(actual, expected, message) end
---@param actual any
---@param unexpected any
---@param message string?
function t.ne(actual, unexpected, message) end
---@param actual number|string
---@param bound number|string
---@param message string?
function t.gt(actual, bound, message) end
---@param actual number|string
---@param bound number|string
---@param message string?
function t.ge(actual, bound, message) end
---@param actual number|string
---@param bound number|string
---@param message string?
function t.lt(actual, bound, message) end
---@param actual number|string
---@param bound number|string
---@param message string?
function t.le(actual, bound, message) end
---Neither nil nor false. Returns what it was given.
---@param value any
---@param err any what is said otherwise
---@return any
function t.ok(value, err, ...) end
---An expected failure: t.err("not_leader", c:propose(...)).
---@param code string
---@param value any
---@param err mk.Error?
function t.err(code, value, err) end
---@param text string
---@param pattern string
---@param message string?
function t.match(text, pattern, message) end
---@param message string?
function t.fail(message) end

-- Clusters ----------------------------------------------------------------------------------------

---@class t.Script
---@field script string its file, or "bundled:NAME"
---@field name string? of the application; the file's name without .lua
---@field config table? its mk.config; otherwise the cluster's config
---@field lua_path string? where require looks beside the script's folder: "lib/?.lua;lib/?/init.lua"

---@class t.ClusterOptions
---@field n integer? nodes; 3
---@field spares integer? further hosts, which c:add() makes members; 0
---@field mode t.Mode? the mode of the test
---@field seed integer? the seed of the test
---@field election_ms integer[]? { 150, 300 }
---@field heartbeat_ms integer? 50
---@field latency_ms number[]? one way; { 1, 3 }
---@field loss number? probability per frame; 0
---@field duplicate number? 0
---@field reorder number? 0
---@field reorder_ms number[]? how much later a reordered frame comes; { 5, 50 }
---@field prevote boolean? true
---@field check_quorum boolean? true
---@field fast_failover boolean? true
---@field lease boolean? true
---@field snapshot { entries: integer?, bytes: integer?, keep_entries: integer? }?
---@field scripts (string|t.Script)[]? of every node
---@field config table? what mk.config is to them
---@field logs table<integer, integer[]>? by node, the terms of the entries that it finds on its disk

---@class t.Cluster
---@field n integer members at first
---@field hosts integer the same and the spares
---@field mode t.Mode
local Cluster = {}

---A cluster of which nothing runs yet. `local c <close> = t.cluster {}` stops and checks it.
---@async
---@param options t.ClusterOptions?
---@return t.Cluster
function t.cluster(options) end

---@param id integer
---@return t.Node
function Cluster:node(id) end
---@return t.Node[]
function Cluster:nodes() end

---All that do not run: raises when one does not start. With an id that one, which may be expected not to.
---@async
---@param id integer?
---@return true?, mk.Error?
function Cluster:start(id) end
---@async
---@param id integer
---@return true?, mk.Error?
function Cluster:restart(id) end
---As planned: leadership is handed over.
---@async
---@param id integer
function Cluster:stop(id) end
---@async
---@param id integer
---@param how { host: boolean?, auto_restart: boolean? }? host: the machine, with what was not synced
function Cluster:crash(id, how) end
---@async
---@param id integer
function Cluster:pause(id) end
---@async
---@param id integer
function Cluster:resume(id) end
---A new, empty disk. Raises if the node or its guardian runs.
---@async
---@param id integer
function Cluster:wipe(id) end
---Load its scripts anew, as SIGHUP does; later starts have them, too. Without opts, the same files again.
---@async
---@param id integer
---@param opts { scripts: (string|table)[]?, config: table? }?
---@return { app: string, generation: integer, outcome: "reloaded"|"started"|"ended"|"failed", error: string? }[]?, mk.Error?
function Cluster:reload(id, opts) end
---Stop it for good, and check it.
---@async
function Cluster:close() end

---@async
---@param from integer
---@param to integer
function Cluster:cut(from, to) end
---@async
---@param from integer
---@param to integer
function Cluster:mend(from, to) end
---@async
---@param id integer
function Cluster:isolate(id) end
---Ends isolate().
---@async
---@param id integer
function Cluster:connect(id) end
---@param id integer
---@return boolean
function Cluster:is_isolated(id) end
---The nodes of one group hear each other, and nobody else of another group. Who is in two hears both.
---@async
---@param ... integer[] groups
function Cluster:partition(...) end
---All links as they were at first.
---@async
function Cluster:heal() end
---Frames take so long, one way, in place of the cluster's latency. probability: of each frame; the others take the
---latency of the cluster. 0 ends the rule. A later rule takes its types from the earlier ones.
---@async
---@param from integer? nil: all
---@param to integer? nil: all
---@param min_ms number
---@param max_ms number?
---@param opts { type: t.Message?, probability: number? }?
function Cluster:delay(from, to, min_ms, max_ms, opts) end
---@async
---@param from integer? nil: all
---@param to integer? nil: all
---@param p number probability per frame; 0 ends the rule
---@param opts { type: t.Message?, count: integer? }?
function Cluster:drop(from, to, p, opts) end
---Simulation only.
---@async
---@param id integer
---@param offset_ms integer?
---@param ppm integer? 200000: runs a fifth too fast
function Cluster:skew(id, offset_ms, ppm) end
---The clock on the wall is set, as by a person or by NTP. Simulation only.
---@async
---@param id integer? nil: of all nodes
---@param wall_ms integer since 1970
function Cluster:set_wall(id, wall_ms) end
---Simulation only.
---@async
---@param id integer
---@param kind "ok"|"slow"|"stall"|"fsync_fail"|"write_fail"|"read_fail"|"torn"|"lost_names"|"full"|"flip"
---@param opts { ms: number?, bytes: integer?, file: string?, offset: integer?, of: "log"|"scripts"|nil }? of: which disk, that of the log or that of scripts' files (mk.fs); "ok" is for both
function Cluster:disk(id, kind, opts) end

---@class t.ProgramOptions
---@field run_ms number|number[]|nil how long it runs, or { least, most }; for ever
---@field code integer? its exit code then; 0
---@field stdout string? what it writes as it begins
---@field stderr string?
---@field stop_ms number? it exits with 0 so long after it was asked to stop; else it dies of that at once
---@field ignores_stop boolean? only SIGKILL ends it
---@field node integer? only there, in place of what all have under this name

---@class t.Run
---@field node integer
---@field name string
---@field arguments string with spaces in between
---@field pid integer
---@field token integer? of the leadership that it worked for
---@field began_ms number
---@field ended_ms number? it runs
---@field code integer?
---@field signal string?

---What mk.exec runs under this name, from now on (simulation).
---@async
---@param name string
---@param opts t.ProgramOptions?
function Cluster:program(name, opts) end
---The runs of programs, as the world has counted them, in the order of their beginnings (simulation).
---@async
---@param name string?
---@return t.Run[]
function Cluster:programs(name) end
---What answers the HTTP requests of scripts to this URL and to all that begin with it, from now on; the longest such
---counts. On real processes too: requests of nodes come to the test, whatever their URL (http only). The servers
---are outside of the cluster: cuts between nodes do not concern them.
---@param url string
---@param opts {status: integer|integer[]|nil, body: string?, headers: table<string, string>?, latency_ms: number|[number, number]|nil, fails: number?, down: boolean?, refuses: integer[]?}?
---status: a list is used one after another, the last one for all later requests; fails: the probability that a request
---fails, in a way that is drawn: refused, broken off before or after it was received, never answered, 503
function Cluster:http_server(url, opts) end
---The requests that servers received, in the order in which they came. status: of the answer that was sent; answered:
---it arrived, at somebody who still waited for it.
---@param url string?
---@return {at_ms: number, node: integer, method: string, url: string, headers: table<string, string>, body: string, status: integer?, answered: boolean}[]
function Cluster:http_requests(url) end

---@return integer
function Cluster:now_ms() end
---@async
---@param ms number
function Cluster:run_for(ms) end
---Until pred returns something: that. Fails the test otherwise. pred is called every millisecond of simulated time (20 ms
---of real time), and less often after a while: once in a thousandth of the time that it has been waited for.
---@async
---@generic T
---@param pred fun(): T?
---@param timeout_ms number
---@param message string?
---@return T
function Cluster:run_until(pred, timeout_ms, message) end
---A leader whose no-op is committed. Fails the test if there is none in time.
---@async
---@param timeout_ms number? 5000
---@param opts { among: integer[]? }?
---@return t.Node
function Cluster:wait_leader(timeout_ms, opts) end
---Who leads in the highest term.
---@async
---@param opts { among: integer[]? }?
---@return t.Node?
function Cluster:leader(opts) end

---@async
---@param sm string
---@param cmd string
---@param args any
---@param opts table?
---@return any, mk.Error?
function Cluster:propose(sm, cmd, args, opts) end
---@async
---@param sm string
---@param name string
---@param args any
---@param opts table?
---@return any, mk.Error?
function Cluster:query(sm, name, args, opts) end
---An opaque command into the log of the leader.
---@async
---@param bytes string
---@param opts { node: integer?, timeout_ms: number? }?
---@return integer? index, integer|mk.Error term
function Cluster:submit(bytes, opts) end
---How many nodes have applied the entry; what was submitted.
---@async
---@param index integer
---@return integer, string?
function Cluster:committed(index) end

---Starts the spare, adds it as a learner, and has it vote once it has caught up.
---@async
---@param id integer
---@param opts { timeout_ms: number?, voter: boolean? }? 5000 for each change; voter = false: it stays a learner
---@return table[]? members, mk.Error?
function Cluster:add(id, opts) end
---@async
---@param id integer
---@param opts { timeout_ms: number? }?
---@return table[]? members, mk.Error?
function Cluster:remove(id, opts) end
---@async
---@param id integer? nil: whoever is best prepared
---@param opts { timeout_ms: number? }?
---@return any, mk.Error?
function Cluster:transfer(id, opts) end

---@async
---@param filter { name: string?, node: integer?, since_ms: number? }?
---@return table[] each with time_ms, node, name, term and the event's fields
function Cluster:events(filter) end
---@async
---@param filter { node: integer?, type: t.Message? }?
---@return integer count, integer bytes
function Cluster:rpcs(filter) end
---@async
---@param rule "election_safety"|"log_matching"|"leader_completeness"|"state_machine_safety"|"durability"|"linearizable"|nil
function Cluster:check(rule) end
---Every step from now on into a file.
---@async
---@param path string
function Cluster:trace(path) end

---@class t.Node
---@field id integer
---@field cluster t.Cluster
local Node = {}

---What the five below say, all of one moment: {role, term, commit_index, last_applied, last_index}.
---@async
---@return table?, mk.Error?
function Node:state() end
---@async
---@return "follower"|"pre_candidate"|"candidate"|"leader"|"learner"|nil, mk.Error?
function Node:role() end
---@async
---@return integer?, mk.Error?
function Node:term() end
---@async
---@return integer?, mk.Error?
function Node:commit_index() end
---@async
---@return integer?, mk.Error?
function Node:last_applied() end
---@async
---@return integer?, mk.Error?
function Node:last_index() end
---@async
---@return t.Node?, mk.Error?
function Node:leader() end
---@async
---@return boolean
function Node:alive() end
---What `moonkeeper status -o json` shows.
---@async
---@return table?, mk.Error?
function Node:status() end
---@async
---@param index integer
---@return { term: integer, kind: string?, bytes: string? }?, mk.Error?
function Node:log(index) end
---@async
---@return { term: integer, voted_for: integer? }?, mk.Error?
function Node:vote() end
---Its election timeout passes now.
---@async
function Node:campaign() end
---@async
---@param bytes string
---@return integer? index, integer|mk.Error term
function Node:submit(bytes) end
---@async
---@param sm string
---@param cmd string
---@param args any
---@param opts table?
---@return any, mk.Error?
function Node:propose(sm, cmd, args, opts) end
---@async
---@param sm string
---@param name string
---@param args any
---@param opts table?
---@return any, mk.Error?
function Node:query(sm, name, args, opts) end
---What its scripts add to the page of /metrics: { ['moonkeeper_script_jobs_total{app="app"}'] = 3 }.
---@async
---@return table<string, number>?, mk.Error?
function Node:metrics() end
---c:reload() of this node.
---@async
---@param opts { scripts: (string|table)[]?, config: table? }?
---@return { app: string, generation: integer, outcome: string, error: string? }[]?, mk.Error?
function Node:reload(opts) end
---Run Lua on the node, with mk: its results.
---@async
---@param source string
---@param ... any
---@return any ...
function Node:eval(source, ...) end
---Ask the node over HTTP: an answer, whatever its status. In simulation there are the routes of its scripts alone.
---@async
---@param method string
---@param path string path and query, as they go over the wire
---@param body string?
---@param opts {headers: table<string, string>?, timeout_ms: number?}? timeout_ms: 10000
---@return {status: integer, headers: table<string, string>, body: string}?, mk.Error?
function Node:http(method, path, body, opts) end

return t
