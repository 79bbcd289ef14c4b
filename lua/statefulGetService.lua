--[[
  All pods' service states, the operator's records beside them, and the time they were read. Reads only.

  KEYS[1]  hash    the service states      sf:{ns:state:svc}
  KEYS[2]  hash    the operator's records  sf:{ns:state:svc}#op
  KEYS[3]  string  the owner               sf:{ns:state:svc}#own
  KEYS[4]  hash    the configuration       sf:{ns:state:svc}#cfg
  KEYS[5]  stream  effective changes       sf:{ns:state:svc}#ev
  KEYS[6]  stream  moves                   sf:{ns:state:svc}#mv

  Returns  {ms since the epoch by this server's clock, owner or '', {pod, state …}, {pod, record …},
            {field, value …} of the configuration, id of the last change, of the last move; '0-0' for none}
]]
local time = redis.call('TIME')
local function id(entries)
  return entries[1] and entries[1][1] or '0-0'  -- a key of another type has none
end
return {
  time[1] * 1000 + math.floor(time[2] / 1000),
  redis.call('GET', KEYS[3]) or '',
  redis.call('HGETALL', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HGETALL', KEYS[4]),
  id(redis.pcall('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)),
  id(redis.pcall('XREVRANGE', KEYS[6], '+', '-', 'COUNT', 1)),
}
