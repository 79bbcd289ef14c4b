--[[
  Forget pods that are gone: the records of ordinals that no pod has and no link names.

  KEYS[1]  hash     the service states      sf:{ns:state:svc}
  KEYS[2]  hash     the operator's records  sf:{ns:state:svc}#op
  KEYS[3]  string   the owner               sf:{ns:state:svc}#own
  KEYS[4]  stream   effective changes       sf:{ns:state:svc}#ev
  KEYS[5]  channel  wake-ups                sf:{ns:state:svc}#ch
  ARGV[1]  the caller, as in #own
  ARGV[2]  PUBLISH, or SPUBLISH on a Redis Cluster
  ARGV[3]  about how many entries the stream keeps
  ARGV[3+i]  the i-th pod index

  Returns  how many there were
  Error    OWNED <owner> when the service is somebody else's or nobody's
]]
local owner = redis.call('GET', KEYS[3]) or ''
if owner ~= ARGV[1] then
  return redis.error_reply('OWNED ' .. owner)
end
local prior = redis.call('XREVRANGE', KEYS[4], '+', '-', 'COUNT', 1)[1]  -- before anything is written: it may be of another type
local removed, id = {}, nil
for i = 4, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
  if redis.call('HDEL', KEYS[2], ARGV[i]) == 1 then
    removed[#removed + 1] = ARGV[i] .. '='
    id = redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3], '*', 'pod', ARGV[i], 'from', 'SHUTDOWN', 'to', '', 'reason', 'Gone')
  end
end
if id then
  redis.call(ARGV[2], KEYS[5], 'ev ' .. (prior and prior[1] or '0-0') .. ' ' .. id .. ' ' .. table.concat(removed, ' '))
end
return #removed
