-- tasks in a cluster on this machine:  moonkeeper dev -c conf/tasks.lua
-- Then, in another terminal:           moonkeeper tasks submit greet
--                                      moonkeeper tasks submit --label gpu --exclusive -- sleep 5
--                                      moonkeeper tasks list
--
-- The settings are explained in scripts/README.md. dev has ids, addresses and directories of its own; on
-- machines of your own, keep `apps` the same on all nodes.
return {
  cluster = "demo",
  id = "n1",
  members = { { id = "n1", peer = "127.0.0.1:7118", client = "127.0.0.1:7117" } },
  data_dir = "data/n1",

  apps = {
    {
      script = "bundled:tasks",
      config = {
        slots = 2, -- of each node
        nodes = { n2 = { labels = { "gpu" } }, n3 = { slots = 4 } },
        kinds = {
          greet = { argv = { "echo", "hello from task {id}" } },
          nap = { argv = { "sleep", "20" }, movable = true },
          third_time = { argv = { "sh", "-c", "[ $TASK_ATTEMPT -ge 3 ]" }, retries = 3 },
        },
      },
    },
  },
}
