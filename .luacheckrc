std = "lua54"
max_line_length = 110
-- A replicated machine has no require: mk (mk.range, mk.array, mk.null, ...) is in its environment.
files["**/*.sm.lua"] = { read_globals = { "mk" } }
