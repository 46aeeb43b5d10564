-- A node of moonkeeper, annotated. Start it with:  moonkeeper start -c conf/node.lua
--
-- This file is Lua: it may compute what it returns, but runs in an empty environment (no libraries, no
-- files, no network). An unknown key is an error that names the nearest known one;
-- `moonkeeper start -c FILE --check` checks a file, and the settings of its applications, without starting
-- anything.
-- Precedence: flag > environment (MOONKEEPER_DATA_DIR, ...) > this file > default.
-- Times are whole milliseconds. Paths are relative to the working directory.

return {
  -- The cluster's name and its first members together are its identity: a node of another cluster is
  -- refused, even at the right address.
  cluster = "demo",

  -- Which of the members this node is. One file can serve all nodes: moonkeeper start -c ... --id n2
  id = "n1",

  -- The first members. From then on the log says who is a member; this list must only be the same on
  -- all nodes when the cluster starts for the first time. peer: where the other nodes reach it;
  -- client: where clients reach it (also where that node listens for them, unless it says otherwise).
  members = {
    { id = "n1", peer = "127.0.0.1:7118", client = "127.0.0.1:7117" },
    -- { id = "n2", peer = "127.0.0.1:7128", client = "127.0.0.1:7127" },
    -- { id = "n3", peer = "127.0.0.1:7138", client = "127.0.0.1:7137" },
    -- One that is added later is no first member, and says so in its own file:
    -- { id = "n4", peer = "127.0.0.1:7148", client = "127.0.0.1:7147", joins = true },
    -- Start it, then: moonkeeper members add n4 127.0.0.1:7148, and members promote n4
  },

  -- Where this node listens for clients (MessagePack-RPC) and for HTTP; http = false turns that off.
  -- An address that other machines can reach is refused unless insecure = true says that your network
  -- protects it: this version has neither TLS nor tokens.
  client = "127.0.0.1:7117",
  http = "127.0.0.1:7119",
  insecure = false,

  -- The log, its term and vote, and who it belongs to. One process and one node per directory. A node
  -- whose directory was lost must not come back under its id: it may have promised things.
  data_dir = "data/n1",

  -- A follower that hears nothing from its leader for a random time between the two starts an election;
  -- a heartbeat goes out every heartbeat_ms and should be a third of the first or less.
  -- These suit one data centre; between continents use something like {1000, 2000} and 300.
  election_ms = { 150, 300 },
  heartbeat_ms = 50,

  -- All on unless you know why: ask before standing for election; a leader without a majority steps
  -- down; leases for reads and for leader-only work; act on the death certificates of guardians.
  prevote = true,
  check_quorum = true,
  lease = true,
  fast_failover = true,

  -- How long a planned stop (SIGTERM) may take: leadership is handed over and shutdown hooks run.
  stop_ms = 10000,

  -- Off: the kernel does not write core files, for that delays the death of a node, and so its
  -- replacement.
  core_dumps = false,

  -- level: debug, info, warn, error, off. format: console, logfmt, json; when it is not stated,
  -- console on a terminal and logfmt otherwise.
  log = { level = "info" },

  -- Scripts. Each runs in a Lua state of its own; mk.config reads its `config`. script: a file, or
  -- "bundled:NAME" for one that comes with moonkeeper (scripts/README.md). name: that of the script.
  -- lua_path: where `require` looks for Lua modules after the script's own folder, as in package.path.
  apps = {
    -- { script = "bundled:demo" },
    -- { name = "mine", script = "my.lua", config = { greeting = "hello" },
    --   lua_path = "/usr/share/lua/5.4/?.lua;/usr/share/lua/5.4/?/init.lua" },
  },

  -- A snapshot is taken when the log has grown by so many entries or bytes since the last one (0: not
  -- for that reason), and on demand: moonkeeper snapshot save. The log before it then goes, but for the
  -- newest keep_entries, so that a node that was away for a moment need not be sent the whole state, and
  -- at most hold_bytes more while a follower or a commit hook is still reading there.
  snapshot = {
    entries = 200000,
    bytes = 64 * 1024 * 1024,
    keep_entries = 10000,
    hold_bytes = 64 * 1024 * 1024,
  },

  -- Bounds on what a node takes in, with their defaults.
  limits = {
    proposal_bytes = 1024 * 1024, -- of one command; at most 8 MiB
    pending = 65536, -- commands and reads that wait for an answer
    cache_bytes = 16 * 1024 * 1024, -- of the log, kept in memory for followers
    segment_bytes = 8 * 1024 * 1024, -- of one file of the log
    clients = 1024, -- connections
    script_memory_bytes = 64 * 1024 * 1024, -- per app
    script_budget_ms = 100, -- processor time of a task between two waits
  },
}
