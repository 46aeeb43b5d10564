---@meta moonkeeper
-- What `require "moonkeeper"` returns, for the Lua language server. Never loaded by a node; a test
-- holds it against what a node registers.
--
-- Times are in ms. Functions marked @async wait: they may be called in tasks only, which every hook,
-- timer and main chunk is. Expected failures return nil and an error; misuse and cancellation raise.

---@class mk
local mk = {}

---@class mk.Error
---@field code "not_leader"|"outcome_unknown"|"timeout"|"conflict"|"fenced"|"not_found"|"rejected"|"busy"|"too_large"|"unreachable"|"shutdown"|"no_space"|"io"|"cancelled"|"invalid"
---@field message string

-- Events ------------------------------------------------------------------------------------------

---@class mk.Event
---@field name string
---@field seq integer strictly ascending on one node; of a commit, its index
---@field time_ms integer since 1970
---@field term integer

---@class mk.CommitEvent: mk.Event
---@field index integer
---@field entry_term integer
---@field kind "command"|"config"|"noop"|"machine"|"session"
---@field sm string? the machine it is for
---@field cmd string?
---@field args any
---@field size integer
---@field id string the same on every node and after every restart
---@field result any while it is in the recent ring

---@class mk.HookOptions
---@field name string? a hook of the same event and name takes the place of the former
---@field from_index integer? commit only: begin there instead of with the next one
---@field priority integer? higher is called first; 0
---@field once boolean?
---@field replay boolean? state events: deliver the present state at once
---@field timeout_ms number? a call is cancelled after this; 30000

---@class mk.HookStats
---@field event string
---@field name string
---@field state "on"|"tripped"|"off"
---@field calls integer
---@field errors integer
---@field dropped integer events for which there was no room
---@field lag integer what waits: events, or commits
---@field p99_us integer of the last 256 calls

---@class mk.Hook
local Hook = {}
function Hook:remove() end
---@return mk.Hook
function Hook:enable() end
---@return mk.Hook
function Hook:disable() end
---@return mk.HookStats
function Hook:stats() end

---@alias mk.EventName "leader_elected"|"leader_ready"|"leader_lost"|"term_change"|"role_change"|"step_down"|"election_started"|"quorum_lost"|"quorum_regained"|"commit"|"gap"|"member_added"|"member_removed"|"member_promoted"|"node_online"|"node_offline"|"snapshot"|"message"|"config_change"|"reload"|"shutdown"|"error"|string

---@param event mk.EventName an event of your own has a "." in its name
---@param fn async fun(ev: table)
---@param opts mk.HookOptions?
---@return mk.Hook
function mk.on(event, fn, opts) end

---@param event string?
---@return mk.Hook[] in the order of their calls
function mk.hooks(event) end

-- Call the hooks of all applications of this node for an event of your own: ev.payload.
---@param event string with a "." in it
---@param payload any
function mk.emit(event, payload) end

-- Work that only the leader does ---------------------------------------------------------------------

---@class mk.Lead
---@field term integer
---@field token integer fencing token, strictly ascending from one leadership to the next
local Lead = {}
---@return boolean
function Lead:valid() end
---@return number ms until the work is ended unless the lease is renewed
function Lead:remaining_ms() end
-- Raise if the leadership is gone.
function Lead:check() end
---@param fn async fun(...)
---@return mk.Task that ends with the leadership
function Lead:spawn(fn, ...) end
---@param event mk.EventName
---@param fn async fun(ev: table)
---@param opts mk.HookOptions?
---@return mk.Hook that is removed with the leadership
function Lead:on(event, fn, opts) end
---@param ms number
---@param fn async fun()
---@return mk.Timer that ends with the leadership
function Lead:every(ms, fn) end

---@class mk.LeadOptions
---@field grace_ms number? a planned hand-over waits this long for it to end; 2000
---@field settle_ms number? begin this long after leader_ready; 0
---@field on_error "retry"|"step_down"|"stop"|nil retry, after 1 s, 2 s, ... 60 s

---@param name string
---@param fn async fun(lead: mk.Lead)
---@param opts mk.LeadOptions?
---@return mk.Hook
function mk.while_leader(name, fn, opts) end

-- Tasks and time ------------------------------------------------------------------------------------

---@class mk.Task
local Task = {}
-- Wait for its end: what it returned, or nil and what it raised (or that it did not end in time).
---@async
---@param ms number?
function Task:join(ms) end
-- Have it raise an error with the code "cancelled" at its present and every later wait.
---@param reason string?
function Task:cancel(reason) end
---@return boolean
function Task:done() end

---@class mk.TaskEvent
local TaskEvent = {}
function TaskEvent:set() end
function TaskEvent:clear() end
---@async
---@param ms number?
---@return boolean set false: the time is over
function TaskEvent:wait(ms) end

---@class mk.Channel
local Channel = {}
-- Waits while it is full.
---@async
function Channel:send(value) end
---@async
---@param ms number?
---@return any value, mk.Error? err
function Channel:recv(ms) end

mk.task = {}
-- Run fn beside its caller, whose child it is: it is cancelled when that ends. Children of the main
-- chunk belong to the application.
---@param fn async fun(...)
---@return mk.Task
function mk.task.spawn(fn, ...) end
---@async
---@param ms number
function mk.task.sleep(ms) end
---@async
---@param wall_ms number
function mk.task.sleep_until(wall_ms) end
-- Let others run and begin a new budget of processor time.
---@async
function mk.task.checkpoint() end
-- Call fn when the running task ends, the last one first; in it, waiting is allowed again.
---@param fn async fun()
function mk.task.defer(fn) end
-- Run fn; return what it returns when all that it spawned has ended. The first error ends the rest.
---@async
---@param fn async fun(...)
function mk.task.scope(fn, ...) end
-- What fn returns, or nil and a timeout; when it, the tasks that it has spawned and their programs have ended.
-- What takes longer than ms is cancelled, and has five seconds to unwind.
---@async
---@param ms number
---@param fn async fun(...)
function mk.task.with_timeout(ms, fn, ...) end
---@async
---@generic T, R
---@param list T[]
---@param limit integer at a time
---@param fn async fun(item: T, index: integer): R
---@return R[]
function mk.task.map(list, limit, fn) end
---@return mk.TaskEvent
function mk.task.event() end
---@param capacity integer? 1
---@return mk.Channel
function mk.task.channel(capacity) end

---@class mk.Timer
local Timer = {}
function Timer:cancel() end

mk.timer = {}
-- Calls never overlap; an error ends the call, not the timer.
---@param ms number
---@param fn async fun()
---@return mk.Timer
function mk.timer.every(ms, fn) end
---@param ms number
---@param fn async fun()
---@return mk.Timer
function mk.timer.after(ms, fn) end

---@class mk.Schedule
local Schedule = {}
-- The first time after after_ms (now) that it is due.
---@param after_ms integer?
---@return integer? wall_ms, mk.Error? err
function Schedule:next(after_ms) end

---@class mk.CronOptions
---@field tz string? a time zone of the tz database, or "local", the node's; "UTC"

-- Five fields (minute hour day-of-month month day-of-week), or @hourly, @daily, @weekly, @monthly, @yearly.
mk.cron = {}
---@param spec string
---@param opts mk.CronOptions?
---@return mk.Schedule? schedule, mk.Error? err which field is wrong
function mk.cron.parse(spec, opts) end
-- The first time after after_ms (now) that spec is due.
---@param spec string
---@param after_ms integer?
---@param opts mk.CronOptions?
---@return integer? wall_ms, mk.Error? err
function mk.cron.next(spec, after_ms, opts) end

mk.time = {}
---@return integer ms on a clock that never steps
function mk.time.now_ms() end
---@return integer ms since 1970
function mk.time.wall_ms() end

-- Raft ------------------------------------------------------------------------------------------------

---@class mk.Peer
---@field id string
---@field addr string?
---@field voter boolean
---@field online boolean
---@field match integer? on the leader: what of its log this member has for sure
---@field rtt_us integer? on the leader

---@class mk.Status
---@field role "follower"|"pre_candidate"|"candidate"|"leader"|"learner"
---@field term integer
---@field leader_id string?
---@field leader_addr string?
---@field leader_ready boolean
---@field commit_index integer
---@field last_applied integer
---@field last_index integer
---@field quorum integer
---@field peers mk.Peer[] the members, this node too

---@class mk.ProposeOptions
---@field timeout_ms number?
---@field forward boolean? a follower forwards it; true
---@field fence integer? refused unless this token is the newest
---@field id string? a key of yours: the same one takes effect once within an hour, and among the newest 100,000

---@class mk.QueryOptions
---@field read "linearizable"|"lease"|"local"|nil linearizable
---@field timeout_ms number?

mk.raft = {}
---@return mk.Status
function mk.raft.status() end
---@return boolean # leader, ready to act, its lease valid
function mk.raft.is_leader() end
---@async
---@param ms number?
---@return string? id, mk.Error? err
function mk.raft.wait_leader(ms) end
---@async
---@param ms number?
---@return integer? index, mk.Error? err
function mk.raft.read_index(ms) end
-- Wait until all that was committed before is applied here.
---@async
---@param ms number?
---@return integer? index, mk.Error? err
function mk.raft.barrier(ms) end
---@async
---@param sm string
---@param cmd string
---@param args any
---@param opts mk.ProposeOptions?
---@return any result, mk.Error? err
function mk.raft.propose(sm, cmd, args, opts) end
---@async
---@param sm string
---@param name string
---@param args any
---@param opts mk.QueryOptions?
---@return any result, mk.Error? err
function mk.raft.query(sm, name, args, opts) end
---@async
---@param id string? the best one
---@param ms number?
---@return string? id of the new leader, mk.Error? err
function mk.raft.transfer_leadership(id, ms) end
-- Lead no more; who leads next is not said. Only the leader can: `not_leader`.
---@async
---@return true?, mk.Error? err
function mk.raft.step_down() end
-- Have this node save a snapshot of all that it has applied, unless one is in place that holds it.
---@async
---@param ms number?
---@return {index: integer, term: integer, bytes: integer}? snapshot, mk.Error? err
function mk.raft.snapshot(ms) end

-- Keys and values ------------------------------------------------------------------------------------

---@class mk.KvItem
---@field key string
---@field value any
---@field version integer

---@class mk.KvSetOptions: mk.ProposeOptions
---@field if_version integer? the version that it must have; 0: it must not exist
---@field lease (mk.Lease|integer)? the key goes when this lease ends
---@field fence (integer|{name: string, token: integer})? of a leadership; or of mk.kv.fence and of locks

---@class mk.KvEvent
---@field type "set"|"delete"|"synced"|"gap"
---@field key string? of set and delete
---@field value any of set
---@field version integer? of set
---@field index integer of the entry that changed it; all up to here is known ("synced"); unknown from here ("gap")

-- An iterator of events; also an object to be closed (local w <close> = ...).
---@class mk.Watch
---@operator call: mk.KvEvent?
local Watch = {}
-- The next event; nil and a timeout when ms are over first; nil when it is closed.
---@async
---@param ms number?
---@return mk.KvEvent? event, mk.Error? err
function Watch:next(ms) end
function Watch:close() end

---@class mk.WatchOptions
---@field initial boolean? begin with a "set" for each key that there is, then "synced"
---@field from_index integer? begin with what this entry changed: the index of the last event seen, plus 1

mk.kv = {}
---@async
---@param key string
---@param opts mk.QueryOptions?
---@return any value nil if there is no such key
---@return integer|mk.Error|nil version
function mk.kv.get(key, opts) end
---@async
---@param key string
---@param value any
---@param opts mk.KvSetOptions?
---@return {version: integer, index: integer}? set, mk.Error? err
function mk.kv.set(key, value, opts) end
---@async
---@param key string
---@param opts mk.KvSetOptions?
---@return {deleted: boolean, index: integer}? deleted, mk.Error? err
function mk.kv.delete(key, opts) end
-- In the order of keys. Linearizable up to 1,000 keys; of more, each 1,000 are, and what is written meanwhile
-- may be seen in some of them alone. A watch tells all changes in their order.
---@async
---@param prefix string
---@param opts mk.QueryOptions?
---@return mk.KvItem[]? items, mk.Error? err
function mk.kv.list(prefix, opts) end
-- A new key: prefix, and the index of its entry as 16 hexadecimal digits. In the order of creation.
---@async
---@param prefix string
---@param value any
---@param opts mk.KvSetOptions?
---@return {key: string, version: integer, index: integer}? created, mk.Error? err
function mk.kv.create(prefix, value, opts) end
-- From now on, whoever shows an older token under this name is refused (err.code "fenced").
---@async
---@param name string
---@param token integer
---@param opts mk.ProposeOptions?
---@return boolean? done, mk.Error? err
function mk.kv.fence(name, token, opts) end
-- What changes under a prefix, in order, without holes. After a "gap" all that is there comes anew, then
-- "synced": forget what you knew.
---@async
---@param prefix string
---@param opts mk.WatchOptions?
---@return mk.Watch
function mk.kv.watch(prefix, opts) end
-- All or none of: {op = "set"|"create"|"delete"|"get"|"check", key = ..., value = ..., if_version = ...}
---@async
---@param ops table[]
---@param opts mk.ProposeOptions?
---@return any[]? results, mk.Error? err
function mk.kv.txn(ops, opts) end

-- Programs ----------------------------------------------------------------------------------------

---@class mk.ExecOptions
---@field env table<string, string>? added to the node's environment
---@field cwd string?
---@field stdout "capture"|"log"|"drop"|nil run: capture; spawn: log
---@field stderr "capture"|"log"|"drop"|nil run: capture; spawn: log, and not capture
---@field stop_signal string? how it is asked to stop: "TERM"
---@field stop_ms number? it is killed so long after it was asked; 5000

---@class mk.RunOptions: mk.ExecOptions
---@field stdin string? what it is given to read
---@field timeout_ms number? it is stopped after this
---@field max_output integer? bytes that are kept of each stream; 1 MiB

---@class mk.SpawnOptions: mk.ExecOptions
---@field stdin boolean? it can be written to

---@class mk.RunResult
---@field code integer? its exit code
---@field signal string? "KILL": what killed it
---@field stdout string?
---@field stderr string?
---@field timed_out boolean
---@field truncated boolean it wrote more than max_output

---@class mk.Process
---@field pid integer
local Process = {}
-- How it ended; nil and a timeout if it has not after ms.
---@async
---@param ms number?
---@return {code: integer?, signal: string?}? ended, mk.Error? err
function Process:wait(ms) end
-- Send a signal ("KILL") to it and all that it has started.
---@param signal string?
function Process:kill(signal) end
-- Ask it to stop, kill it if it does not: how it ended.
---@async
---@return {code: integer?, signal: string?}? ended, mk.Error? err
function Process:stop() end
-- Returns when all is written.
---@async
---@param data string
---@return true? written, mk.Error? err
function Process:write(data) end
function Process:close_stdin() end
-- The next line of a captured stdout; nil when there are no more; nil and a timeout after ms.
---@async
---@param ms number?
---@return string? line, mk.Error? err
function Process:read_line(ms) end

mk.exec = {}
-- Run a program to its end. nil and the reason if it cannot be started.
---@async
---@param argv string[]
---@param opts mk.RunOptions?
---@return mk.RunResult? result, mk.Error? err
function mk.exec.run(argv, opts) end
-- Start a program. It ends with the task that starts it.
---@async
---@param argv string[]
---@param opts mk.SpawnOptions?
---@return mk.Process? process, mk.Error? err
function mk.exec.spawn(argv, opts) end

-- HTTP ---------------------------------------------------------------------------------------------

---@class mk.HttpOptions
---@field headers table<string, string|number|(string|number)[]>? names in any case; a list: the header comes several times
---@field body string?
---@field timeout_ms number? from the call to the end of the answer; 10000
---@field max_body integer? of the answer, in bytes; beyond it: too_large; 1 MiB

---@class mk.HttpRequestOptions: mk.HttpOptions
---@field url string http or https, ASCII
---@field method "GET"|"HEAD"|"POST"|"PUT"|"DELETE"|"OPTIONS"|"PATCH"|nil "GET"

---@class mk.HttpResponse
---@field status integer
---@field headers table<string, string> names in lower case
---@field body string

mk.http = {}
-- An answer, whatever its status is. nil and the reason if there is none: unreachable, timeout, too_large, invalid
-- (the url), io, busy. The server may have got the request all the same.
---@async
---@param o mk.HttpRequestOptions
---@return mk.HttpResponse? response, mk.Error? err
function mk.http.request(o) end
---@async
---@param url string
---@param o mk.HttpOptions?
---@return mk.HttpResponse? response, mk.Error? err
function mk.http.get(url, o) end
---@async
---@param url string
---@param o mk.HttpOptions?
---@return mk.HttpResponse? response, mk.Error? err
function mk.http.post(url, o) end

---@class mk.HttpRequest
---@field method string
---@field path string percent-decoded
---@field params table<string, string> what ":name" and "*name" of the route stand for
---@field query table<string, string> of what comes several times, the first
---@field headers table<string, string> names in lower case
---@field body string
---@field remote string who asks: "192.0.2.1:43210"

---@class mk.Route
local Route = {}
-- The path is not answered any more.
function Route:remove() end
-- Have requests to this node's HTTP port answered: a task for each. In path ":name" stands for one segment, "*name"
-- at the end for all that follows; what is named outright counts more. method "*": any. The same method and path
-- again replaces the function; paths of the node itself, or of another application, raise.
---@param method "GET"|"HEAD"|"POST"|"PUT"|"DELETE"|"OPTIONS"|"PATCH"|"*"
---@param path string
---@param fn async fun(request: mk.HttpRequest): {status: integer?, headers: table<string, string|number|(string|number)[]>?, body: string?}
---@param o {timeout_ms: number?, other_pages: boolean?}? timeout_ms: 30000; then whoever asks gets 504. other_pages:
---are requests let in that a browser makes for other web pages? GET and HEAD unless false, others if true
---@return mk.Route
function mk.http.route(method, path, fn, o) end

-- Leases, locks ------------------------------------------------------------------------------------

-- Kept by the task that was granted it, while it runs. local l <close> = ... ends it with its block.
---@class mk.Lease
---@field id integer
---@field ttl_ms integer
local Lease = {}
-- Does it hold for sure? Never again once it did not.
---@return boolean
function Lease:valid() end
---@return integer
function Lease:remaining_ms() end
-- Wait until it is not valid any more: true; false when ms are over first.
---@async
---@param ms number?
---@return boolean
function Lease:wait_end(ms) end
-- End it now; its keys go.
---@async
---@return boolean? done, mk.Error? err
function Lease:revoke() end

mk.lease = {}
---@async
---@param ttl_ms integer 100 to a day
---@param opts mk.ProposeOptions?
---@return mk.Lease? lease, mk.Error? err
function mk.lease.grant(ttl_ms, opts) end
---@async
---@param id integer
---@param opts mk.QueryOptions?
---@return {id: integer, ttl_ms: integer, remaining_ms: integer, keys: integer}? lease, mk.Error? err
function mk.lease.get(id, opts) end

---@class mk.Lock
---@field name string
---@field token integer fencing token: greater than that of all holders before
local Lock = {}
-- Is it held for sure? Never again once it was not.
---@return boolean
function Lock:valid() end
---@return integer
function Lock:remaining_ms() end
-- Give it back.
---@async
---@return boolean? done, mk.Error? err
function Lock:release() end

---@class mk.LockOptions
---@field ttl_ms integer? how long a holder that is out of touch keeps the others waiting; 10000
---@field timeout_ms number? how long to wait for it; for ever

mk.lock = {}
-- Who asked first has it first.
---@async
---@param name string
---@param opts mk.LockOptions?
---@return mk.Lock? lock, mk.Error? err
function mk.lock.acquire(name, opts) end
-- Run fn while holding the lock: its results. fn is cancelled when the lock is lost: nil, and "fenced".
---@async
---@param name string
---@param opts mk.LockOptions?
---@param fn async fun(lock: mk.Lock): ...
---@return any ...
function mk.lock.with(name, opts, fn) end

-- The rest ----------------------------------------------------------------------------------------

-- Lines in the node's log, under the application's name.
mk.log = {}
---@param message any
---@param fields table<string, any>? at most 16; ts, level, msg, node and app are the node's: they become node_, app_, ...
function mk.log.debug(message, fields) end
---@param message any
---@param fields table<string, any>?
function mk.log.info(message, fields) end
---@param message any
---@param fields table<string, any>?
function mk.log.warn(message, fields) end
---@param message any
---@param fields table<string, any>?
function mk.log.error(message, fields) end

---@class mk.ConfigRule
---@field type "string"|"number"|"integer"|"boolean"|"table"
---@field required boolean?
---@field default any
---@field min number? of a list: how many elements; of a string: how many bytes
---@field max number?
---@field one_of any[]?
---@field fields table<string, mk.ConfigRule>? of a table
---@field items mk.ConfigRule? of each element: it is a list
---@field values mk.ConfigRule? of each value: it is a map with names of any kind
---@field unique (string|true)? of a list: no two elements have the same under this key; true: are the same
---@field format ("name"|"environment")? letters, digits, _, - and . in a string; a map whose names are variables
---@field check (fun(value: any, path: string): string?)? what is wrong with it otherwise

mk.cluster = {}
---@class mk.Member
---@field id string
---@field addr string of its peer listener
---@field voter boolean
---@field online boolean as the leader told all nodes
---@field is_leader boolean
---@field is_self boolean

---@return mk.Member[]
function mk.cluster.members() end
-- Add a member, which does not vote until it is promoted.
---@async
---@param id string
---@param addr string
---@return true? ok, mk.Error? err
function mk.cluster.add(id, addr) end
-- Let a member vote, once it has caught up.
---@async
---@param id string
---@return true? ok, mk.Error? err
function mk.cluster.promote(id) end
---@async
---@param id string
---@return true? ok, mk.Error? err
function mk.cluster.remove(id) end
-- Ask the handler of a topic on a node, which may be this one: what it returned. Codes: unreachable, timeout,
-- not_found (no such member, no handler), rejected (the handler raised), busy, too_large (256 KiB).
---@async
---@param id string
---@param topic string
---@param payload any?
---@param ms integer? 5000
---@return any value, mk.Error? err
function mk.cluster.call(id, topic, payload, ms) end
-- Tell the `message` hooks of a node. True says that it is on its way.
---@async
---@param id string
---@param topic string
---@param payload any?
---@return true? ok, mk.Error? err
function mk.cluster.send(id, topic, payload) end
---@class mk.Handler
local Handler = {}
function Handler:remove() end
-- Answer the calls of a topic. What fn raises is the caller's `rejected`. One application of a node has a topic.
---@param topic string
---@param fn async fun(payload: any, from: string): any
---@return mk.Handler
function mk.cluster.handle(topic, fn) end

mk.config = {}
---@param path string "webhook.url"
---@param default any
---@return any
function mk.config.get(path, default) end
-- Hold the application's configuration against a schema; fills in defaults, raises what is wrong.
---@param schema table<string, mk.ConfigRule>
---@return table
function mk.config.declare(schema) end

-- Figures for the page of /metrics: moonkeeper_script_NAME{app="...", ...}. The same name and labels are the same
-- series, also after a reload.
---@class mk.Counter
local Counter = {}
---@param n number? 0 or more; 1
function Counter:add(n) end

---@class mk.Gauge
local Gauge = {}
---@param n number
function Gauge:set(n) end
---@param n number
function Gauge:add(n) end

---@class mk.Histogram
local Histogram = {}
---@param n number
function Histogram:observe(n) end

-- A replicated state machine, by its name.
---@class mk.Machine
---@field name string
---@field version integer
local Machine = {}
---@async
---@param cmd string
---@param args any
---@param opts table? as of mk.raft.propose
---@return any result, mk.Error? err
function Machine:propose(cmd, args, opts) end
---@async
---@param name string
---@param args any
---@param opts table? as of mk.raft.query
---@return any result, mk.Error? err
function Machine:query(name, args, opts) end

mk.sm = {}
-- Have all nodes run the machine in this file, beside the script if the path is relative. The same one again does
-- nothing.
---@async
---@param file string
---@param opts {timeout_ms: number?}?
---@return mk.Machine? machine, mk.Error? err not_found, rejected (the file, or its version), not_leader, timeout
function mk.sm.load(file, opts) end

mk.fs = {}
-- A file as a whole: 4 MiB at most. A relative path is below the node's own folder (files/ in its data directory).
---@async
---@param path string without "." and ".."
---@return string? data, mk.Error? err not_found, too_large, io
function mk.fs.read(path) end
-- Replace a file, or make it: durable, and never half written. Folders of a relative path are made, too.
---@async
---@param path string
---@param data string
---@return true? done, mk.Error? err not_found (the folder), no_space, too_large, io
function mk.fs.write(path, data) end

mk.metrics = {}
---@param name string letters, digits and _; a counter's ends in _total
---@param labels table<string, string|number|boolean>? 8 at most
---@param opts {help: string?}?
---@return mk.Counter
function mk.metrics.counter(name, labels, opts) end
---@param name string
---@param labels table<string, string|number|boolean>?
---@param opts {help: string?}?
---@return mk.Gauge
function mk.metrics.gauge(name, labels, opts) end
---@param name string of durations, it ends in _seconds
---@param labels table<string, string|number|boolean>?
---@param opts {help: string?, buckets: number[]?}? buckets: upper bounds, ascending; 0.005 to 10
---@return mk.Histogram
function mk.metrics.histogram(name, labels, opts) end

---@class mk.Info
---@field id string
---@field addr string
---@field version string
---@field cluster string
---@field uptime_ms integer
---@field app string
---@field generation integer
---@field simulated boolean

---@return mk.Info
function mk.info() end
-- What fn returns (plain data) is mk.saved of the next generation, when the script is loaded anew. nil: nothing is.
---@param fn (async fun(): any)?
function mk.on_reload(fn) end
-- What the generation before has left; nil in the first one, and when that had no mk.on_reload.
---@type any
mk.saved = nil
-- Stop this node as SIGTERM would.
function mk.shutdown() end

mk.json = {}
---@param value any
---@param opts {indent: integer}?
---@return string
function mk.json.encode(value, opts) end
---@param text string
---@return any value, mk.Error? err
function mk.json.decode(text) end

mk.msgpack = {}
---@param value any
---@return string
function mk.msgpack.encode(value) end
---@param bytes string
---@return any value, mk.Error? err
function mk.msgpack.decode(bytes) end

-- What JSON's null and MessagePack's nil are inside tables.
mk.null = {}

-- Mark a table as an array, so that it is one even when it is empty.
---@param t table?
---@return table
function mk.array(t) end

return mk
