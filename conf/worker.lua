-- worker in a cluster on this machine:  moonkeeper dev -c conf/worker.lua
-- Then, in another terminal:            moonkeeper transfer; moonkeeper kv list worker/
--
-- The settings of a worker are explained in scripts/README.md. dev has ids, addresses and directories of
-- its own; on machines of your own, keep `apps` the same on all nodes.
return {
  cluster = "demo",
  id = "n1",
  members = { { id = "n1", peer = "127.0.0.1:7118", client = "127.0.0.1:7117" } },
  data_dir = "data/n1",

  apps = {
    {
      script = "bundled:worker",
      config = {
        workers = {
          {
            name = "clock",
            argv = { "sh", "-c", "while sleep 2; do date +%T; echo my token is $MOONKEEPER_FENCE; done" },
          },
          { name = "flaky", argv = { "sh", "-c", "sleep 3; exit 1" }, well_after_ms = 1000, stop_ms = 1000 },
        },
      },
    },
  },
}
