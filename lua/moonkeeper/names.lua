-- Names that somebody has mistyped: what was meant?
local names = {}

-- How many letters must change to make b of a.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(above + 1, row[j - 1] + 1, diagonal + cost)
      diagonal = above
    end
  end
  return row[#b]
end

-- The one of a list that is meant, or nil. "timeout" is "timeout_ms": a unit is easily left out.
function names.nearest(name, known)
  local best, best_distance
  for _, candidate in ipairs(known) do
    local d = candidate:sub(1, #name + 1) == name .. "_" and 1 or distance(name, candidate)
    if not best_distance or d < best_distance then best, best_distance = candidate, d end
  end
  if best and best_distance <= math.max(1, #name // 3) then return best end
end

-- What was meant; all that there are, where nothing is near.
function names.suggest(hint, known)
  if hint then return ("did you mean '%s'?"):format(hint) end
  return (#known == 1 and "there is " or "there are ") .. table.concat(known, ", ")
end

function names.is_one_of(word, words)
  for _, other in ipairs(words) do
    if word == other then return true end
  end
  return false
end

-- What is wrong with the options of a call, or nil; known: each with its type, a list of the words that it
-- may be, or true for any. A misspelt option would be ignored, and nobody would know.
function names.wrong_option(o, known)
  if o == nil then return nil end
  if type(o) ~= "table" then return "options are a table, not a " .. type(o) end
  for name, value in pairs(o) do
    local expected = known[name]
    local words = type(expected) == "table" and expected
    if words then expected = "string" end
    if not expected then
      local all = {}
      for other in pairs(known) do all[#all + 1] = other end
      table.sort(all)
      local hint = names.suggest(names.nearest(tostring(name), all), all)
      return ("there is no option '%s'; %s"):format(tostring(name), hint)
    elseif expected ~= true and type(value) ~= expected then
      return ("%s is a %s, not a %s"):format(name, expected, type(value))
    elseif words and not names.is_one_of(value, words) then
      local hint = names.suggest(names.nearest(value, words), words)
      return ("there is no %s = '%s'; %s"):format(name, value, hint)
    end
  end
end

-- The same raises, and points at whoever is `level` levels up, as error() counts.
function names.check_options(o, known, level)
  local wrong = names.wrong_option(o, known)
  if wrong then error(wrong, level + 1) end
end

-- There is no t[name]; t is called `where`. Raises, and names what was meant.
function names.absent(t, where, name, level)
  local all = {}
  for other in pairs(t) do all[#all + 1] = other end
  table.sort(all)
  local hint = names.nearest(tostring(name), all)
  hint = names.suggest(hint and where .. "." .. hint, all)
  error(("there is no %s.%s; %s"):format(where, tostring(name), hint), level + 1)
end

-- What is not there is an error where it is asked for, not where nil is called.
function names.strict(t, where)
  return setmetatable(t, { __index = function(_, name) names.absent(t, where, name, 2) end })
end

return names
