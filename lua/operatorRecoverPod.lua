--[[
  Take back what a route manager has said of a pod that failed: its record goes, the app's own word stands again.

  KEYS[1]  hash    the service states      sf:{ns:state:svc}
  KEYS[2]  hash    the operator's records  sf:{ns:state:svc}#op
  KEYS[3]  string  the owner               sf:{ns:state:svc}#own
  KEYS[4]  stream  effective changes       sf:{ns:state:svc}#ev
  ARGV[1]  pod index
  ARGV[2]  PUBLISH, or SPUBLISH on a Redis Cluster
  ARGV[3]  the service's channel, where callers are woken  sf:{ns:state:svc}#ch
  ARGV[4]  about how many entries the stream keeps
  ARGV[5]  the reason that such a record has; one with another reason is left as it is

  Returns  1 if there was such a record else 0
  Error    OWNED <owner> when the service has an owner: what its pods are is the operator's to say
  A state that was only kept for the record goes with it; one that does not parse is left as it is.
]]
local owner = redis.call('GET', KEYS[3])
if owner then
  return redis.error_reply('OWNED ' .. owner)
end
local SEVERITY = {READY = 0, DENY_NEW_CALL = 1, SHUTDOWN = 2}
local pod = ARGV[1]

local function parsed(text)
  local good, value = pcall(cjson.decode, text or '')
  return good and type(value) == 'table' and value or nil
end

local record = parsed(redis.call('HGET', KEYS[2], pod))
if not record or record.reason ~= ARGV[5] then
  return 0
end
local raw = redis.call('HGET', KEYS[1], pod)
local state = parsed(raw)
local prior = redis.call('XREVRANGE', KEYS[4], '+', '-', 'COUNT', 1)[1]  -- before anything is written: it may be of another type
local before, now = state and SEVERITY[state.routingState] and state.routingState or '', ''
redis.call('HDEL', KEYS[2], pod)
if state and state.op == true then
  redis.call('HDEL', KEYS[1], pod)
elseif before ~= '' then
  now = SEVERITY[state.app] and state.app or before
  if not SEVERITY[state.app] and before == record.written and SEVERITY[record.appWord] then
    now = record.appWord  -- a foreign client's, on which the record's state had been laid
  end
  if now ~= before then
    local text, hits = string.gsub(raw, '("routingState"%s*:%s*)"[A-Z_]*"', '%1"' .. now .. '"')
    if hits ~= 1 then
      state.routingState = now
      text = cjson.encode(state)
    end
    redis.call('HSET', KEYS[1], pod, text)
  end
end
if before ~= now then
  local id = redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[4], '*', 'pod', pod, 'from', before, 'to', now, 'reason', 'App')
  redis.call(ARGV[2], ARGV[3], 'ev ' .. (prior and prior[1] or '0-0') .. ' ' .. id .. ' ' .. pod .. '=' .. now)
end
return 1
