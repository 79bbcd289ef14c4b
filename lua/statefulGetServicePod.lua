--[[
  One pod's service state, the operator's record beside it, and the time they were read. Reads only.

  KEYS[1]  hash  the service states      sf:{ns:state:svc}
  KEYS[2]  hash  the operator's records  sf:{ns:state:svc}#op
  ARGV[1]  pod index

  Returns  {ms since the epoch by this server's clock, state or '', record or ''}
]]
local time = redis.call('TIME')
return {
  time[1] * 1000 + math.floor(time[2] / 1000),
  redis.call('HGET', KEYS[1], ARGV[1]) or '',
  redis.call('HGET', KEYS[2], ARGV[1]) or '',
}
