-- request in a cluster on this machine:  moonkeeper dev -c conf/request.lua
-- Then, in another terminal:             curl -X POST -d hello 'http://127.0.0.1:7129/req?age=1'
--                                        moonkeeper kv list request/
--
-- The settings are explained in scripts/README.md. dev has ids, addresses and directories of its own; on
-- machines of your own, keep `apps` the same on all nodes.
return {
  cluster = "demo",
  id = "n1",
  members = { { id = "n1", peer = "127.0.0.1:7118", client = "127.0.0.1:7117" } },
  http = "127.0.0.1:7119",
  data_dir = "data/n1",

  apps = {
    { script = "bundled:request", config = { path = "/req", timeout_ms = 2000, keep = 1000 } },
  },
}
