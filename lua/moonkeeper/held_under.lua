-- By task: the lease of the lock that it, and all below it, work under.
return setmetatable({}, { __mode = "k" })
