-- A module of scripts/borrower.lua, which is not beside it.
return { of = function(id) return "hello from " .. id end }
