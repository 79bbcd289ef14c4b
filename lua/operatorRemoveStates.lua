--[[
  Forget pods that are gone: the records of ordinals that no pod has and no link names.

  KEYS[1]  hash    the service states      sf:{ns:state:svc}
  KEYS[2]  hash    the operator's records  sf:{ns:state:svc}#op
  KEYS[3]  string  the owner               sf:{ns:state:svc}#own
  KEYS[4]  stream  effective changes       sf:{ns:state:svc}#ev
  ARGV[1]  the caller, as in #own
  ARGV[2]  PUBLISH, or SPUBLISH on a Redis Cluster
  ARGV[3]  the service's channel, where callers are woken  sf:{ns:state:svc}#ch
  ARGV[4]  about how many entries the stream keeps
  ARGV[4+i]  the i-th pod index, at least one

  Returns  how many there were
  Error    OWNED <owner> when the service is somebody else's or nobody's
]]
local owner = redis.call('GET', KEYS[3]) or ''
if owner ~= ARGV[1] then
  return redis.error_reply('OWNED ' .. owner)
end
local prior = redis.call('XREVRANGE', KEYS[4], '+', '-', 'COUNT', 1)[1]  -- before anything is written: it may be of another type
local records = redis.call('HMGET', KEYS[2], unpack(ARGV, 5))
redis.call('HDEL', KEYS[1], unpack(ARGV, 5))  -- all at once: a Cluster whose slot moves lets no script touch a key that
redis.call('HDEL', KEYS[2], unpack(ARGV, 5))  -- has gone with its last field
local removed, id = {}, nil
for i = 5, #ARGV do
  if records[i - 4] then
    removed[#removed + 1] = ARGV[i] .. '='
    id = redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[4], '*', 'pod', ARGV[i], 'from', 'SHUTDOWN', 'to', '', 'reason', 'Gone')
  end
end
if id then
  redis.call(ARGV[2], ARGV[3], 'ev ' .. (prior and prior[1] or '0-0') .. ' ' .. id .. ' ' .. table.concat(removed, ' '))
end
return #removed
