-- The options that proposals and questions take, whichever module they come through.
return {
  proposing = { timeout_ms = "number", forward = "boolean", fence = "number", id = "string" },
  reading = { timeout_ms = "number", index = "number", read = { "linearizable", "lease", "local" } },
}
