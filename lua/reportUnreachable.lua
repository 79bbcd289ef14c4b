--[[
  A caller could not reach a pod: a hint for the operator, which looks for itself before it does anything.

  KEYS[1]  hash  callers' hints  sf:{ns:state:svc}#hi
  ARGV[1]  pod index
  ARGV[2]  PUBLISH, or SPUBLISH on a Redis Cluster
  ARGV[3]  the service's channel, where callers are woken  sf:{ns:state:svc}#ch
  ARGV[4]  seconds that the hints live

  Returns  1
]]
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call(ARGV[2], ARGV[3], 'hi ' .. ARGV[1])
return 1
