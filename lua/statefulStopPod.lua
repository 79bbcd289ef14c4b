--[[
  A pod is about to stop, as its preStop hook says: it takes no new uids from now on, and the operator drains it.

  KEYS[1]  hash    the service states      sf:{ns:state:svc}
  KEYS[2]  hash    the operator's records  sf:{ns:state:svc}#op
  KEYS[3]  stream  effective changes       sf:{ns:state:svc}#ev
  ARGV[1]  pod index
  ARGV[2]  the pod's uid, or '' when nobody knows it
  ARGV[3]  ms for which this holds: a pod that is still there then has not stopped
  ARGV[4]  PUBLISH, or SPUBLISH on a Redis Cluster
  ARGV[5]  the service's channel, where callers are woken  sf:{ns:state:svc}#ch
  ARGV[6]  about how many entries the stream keeps

  Returns  the effective routing state; nil, and nothing is written, for a pod that has neither a state nor an operator's
           record: nobody knows it, as when its name is wrong
  Error    REPLACED when the pod has a successor: nothing is written then
  It is noted in the pod's state record as stops, ms since the epoch, beside what its app says; the first word of another
  life of the pod removes it, and so does the operator when it sees one. A later end stays. The routing state in a foreign
  client's record is left as it is: it would be taken for that client's own word.
]]
local SEVERITY = {READY = 0, DENY_NEW_CALL = 1, SHUTDOWN = 2}
local pod = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function parsed(text)
  local good, value = pcall(cjson.decode, text or '')
  return good and type(value) == 'table' and value or nil
end

local raw, noted = redis.call('HGET', KEYS[1], pod), redis.call('HGET', KEYS[2], pod)
if not raw and not noted then return false end
local record, state = parsed(noted), parsed(raw)
if ARGV[2] ~= '' then
  for _, known in ipairs({state and state.former or {}, record and record.former or {}}) do
    for _, gone in ipairs(type(known) == 'table' and known or {}) do
      if gone == ARGV[2] then return redis.error_reply('REPLACED') end
    end
  end
end
local before = state and SEVERITY[state.routingState] and state.routingState or ''
local effective = SEVERITY[before] and SEVERITY[before] > 1 and before or 'DENY_NEW_CALL'
if record and SEVERITY[record.state] and SEVERITY[record.state] > SEVERITY[effective] then
  effective = record.state
end
local prior = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]  -- before anything is written: it may be of another type
local stops = string.format(',"stops":%.0f}', math.max(now + tonumber(ARGV[3]), state and tonumber(state.stops) or 0))
local text
local foreign = state and state.op ~= true and not SEVERITY[state.app]
if state then
  text = string.gsub(raw, ',%s*"stops"%s*:%s*%d+', '')
  if not foreign then
    text = string.gsub(text, '("routingState"%s*:%s*)"[A-Z_]*"', '%1"' .. effective .. '"')
  end
  text = string.gsub(text, '}%s*$', stops)
else
  text = string.format('{"state":0,"routingState":"%s","updateTime":%.0f,"op":true', effective, now) .. stops
end
redis.call('HSET', KEYS[1], pod, text)
local known, id = prior and prior[1] or '0-0', nil
if before ~= effective and not foreign then
  id = redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*', 'pod', pod, 'from', before, 'to', effective, 'reason', 'Stopping')
end
if before ~= effective or not (state and state.stops) then
  redis.call(ARGV[4], ARGV[5], 'ev ' .. known .. ' ' .. (id or known) .. ' ' .. pod .. '=' .. effective)
end
return effective
