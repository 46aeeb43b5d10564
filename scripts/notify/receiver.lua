-- Who is told: a webhook or a program.
local mk = require "moonkeeper"

local receiver = {}

-- For mk.config.declare: what is wrong with them, if something is.
function receiver.check_url(url)
  local is_url = url:find "^[Hh][Tt][Tt][Pp][Ss]?://[%w%[]"
  return not is_url and "it must begin with http:// or https://, and a host"
end

function receiver.check_headers(headers)
  for name, value in pairs(headers) do
    if not name:find "^[%w!#$%%&'*+.^_`|~-]+$" then return ("%s is no name of a header"):format(name) end
    if value:find "[%c\127]" then return ("the value of %s has a control character"):format(name) end
  end
end

-- One attempt, by settings with url or argv: was it accepted? If not, why.
function receiver.send(settings, event, token)
  local body = mk.json.encode { id = event.id, event = event.event, text = event.text, term = event.term,
    time_ms = event.heard_ms, about = event.about, events = event.events, count = event.count, token = token }
  if settings.url then
    local headers = { ["content-type"] = "application/json", ["idempotency-key"] = event.id }
    for name, value in pairs(settings.headers or {}) do headers[name] = value end
    local resp, err = mk.http.post(settings.url,
      { body = body, headers = headers, timeout_ms = settings.timeout_ms })
    return resp and resp.status // 100 == 2, resp and "status " .. resp.status or tostring(err)
  end
  local r, err = mk.exec.run(settings.argv, { stdin = body, timeout_ms = settings.timeout_ms,
    env = { NOTIFY_ID = event.id, NOTIFY_EVENT = event.event, NOTIFY_TEXT = event.text } })
  return r and r.code == 0, r and ("exit code %s %s"):format(r.code or r.signal, r.stderr) or tostring(err)
end

return receiver
