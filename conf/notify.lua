-- notify in a cluster on this machine:  moonkeeper dev -c conf/notify.lua
-- What is told is added to the file notify.jsonl. In another terminal, make something happen:
--                                       moonkeeper transfer
--                                       moonkeeper kv list notify/
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
      script = "bundled:notify",
      config = {
        -- url = "https://chat.example/hooks/cluster",
        argv = { "sh", "-c", "cat >> notify.jsonl; echo >> notify.jsonl" },
        events = { "leader_elected", "quorum_lost", "quorum_regained", "member_added", "member_removed" },
        most = 10,
        window_ms = 60 * 1000,
      },
    },
  },
}
