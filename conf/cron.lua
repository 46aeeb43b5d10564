-- cron in a cluster on this machine:  moonkeeper dev -c conf/cron.lua
-- Then, in another terminal:          moonkeeper cron list
--
-- The settings of a job are explained in scripts/README.md. dev has ids, addresses and directories of its
-- own; on machines of your own, keep `apps` the same on all nodes.
return {
  cluster = "demo",
  id = "n1",
  members = { { id = "n1", peer = "127.0.0.1:7118", client = "127.0.0.1:7117" } },
  data_dir = "data/n1",

  apps = {
    {
      script = "bundled:cron",
      config = {
        jobs = {
          { name = "hello", schedule = "* * * * *", argv = { "echo", "hello from {slot}" } },
          {
            name = "backup",
            schedule = "30 2 * * *",
            tz = "Europe/Berlin",
            argv = { "sh", "-c", "echo backing up; sleep 20" },
            timeout_ms = 3600 * 1000,
            retries = 2,
            retry_ms = 60 * 1000,
          },
          { name = "report", schedule = "0 8 * * mon-fri", argv = { "date" }, missed = "skip" },
        },
      },
    },
  },
}
