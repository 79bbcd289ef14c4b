--[[
  Tell callers and pods which links have moved.

  KEYS[1]  stream   the service's moves     sf:{ns:state:svc}#mv
  KEYS[2]  channel  its wake-ups            sf:{ns:state:svc}#ch
  KEYS[3]  string   the owner               sf:{ns:state:svc}#own
  ARGV[1]  PUBLISH, or SPUBLISH on a Redis Cluster
  ARGV[2]  about how many entries the stream keeps
  ARGV[3]  pod index the links were on
  ARGV[4]  reason
  ARGV[5]  the moves, JSON: [ [uid, to, epoch], … ]
  ARGV[6]  the caller, as in #own; '' for a caller that owns nothing
  ARGV[7]  the pods they are on now, 3,17; -1 among them: some were given up, and are on none

  Returns  the entry's id
  Error    OWNED <owner> when the caller has lost the service: it must move no more (these moves are told all the same)
]]
local prior = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'from', ARGV[3], 'reason', ARGV[4], 'moves', ARGV[5])
redis.call(ARGV[1], KEYS[2], table.concat({'mv', prior and prior[1] or '0-0', id, ARGV[3], ARGV[7]}, ' '))
local owner = redis.call('GET', KEYS[3]) or ''
if ARGV[6] ~= '' and owner ~= ARGV[6] then
  return redis.error_reply('OWNED ' .. owner)
end
return id
