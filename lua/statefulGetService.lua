--[[
  All pods' service states, the operator's records beside them, and the time they were read. Reads only.

  KEYS[1]  hash    the service states      sf:{ns:state:svc}
  KEYS[2]  hash    the operator's records  sf:{ns:state:svc}#op
  KEYS[3]  string  the owner               sf:{ns:state:svc}#own

  Returns  {ms since the epoch by this server's clock, owner or '', {pod, state …}, {pod, record …}}
]]
local time = redis.call('TIME')
return {
  time[1] * 1000 + math.floor(time[2] / 1000),
  redis.call('GET', KEYS[3]) or '',
  redis.call('HGETALL', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
}
