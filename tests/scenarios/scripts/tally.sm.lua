-- Counts what it is told to.
return {
  name = "tally",
  version = 1,
  init = function(st) st.n = {} end,
  apply = {
    add = function(st, args)
      assert(math.type(args.by) == "integer", "by must be a whole number")
      st.n[args.name] = (st.n[args.name] or 0) + args.by
      return st.n[args.name]
    end,
  },
  query = { get = function(st, args) return st.n[args.name] end },
}
