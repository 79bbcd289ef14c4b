--[[
  Remove a uid's link if it names the given pod: at once, or kept for some seconds so that late callers still find it.

  KEYS[1]  string  the link            sf:{ns:lk:uid}svc
  KEYS[2]  hash    the uid's links     sf:{ns:lk:uid}
  KEYS[3]  zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[4]  hash    the service's counts, not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]  uid
  ARGV[2]  service name
  ARGV[3]  pod index
  ARGV[4]  seconds to keep it as a temporary link, 0 for not at all

  Returns  {1 if the link named the pod, else 0: nothing was changed then; pod that it named or -1; epoch}: the epoch is
           that of statefulRemoveLink, -1 if nothing was changed
  A link that is kept is retained, as in statefulRemoveLink.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
-- include lib/counts.lua
local pod, seconds = tonumber(ARGV[3]), tonumber(ARGV[4])
local current = redis.call('GET', KEYS[1])
local named = ordinal(current)
if named ~= pod then
  return {0, named or -1, -1}
end
local score = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or -1)

redis.call('HDEL', KEYS[2], ARGV[2])  -- first: its key alone has not been read, and may be of another type
local epoch = math.floor(score / STEP) == pod and score % STEP or -1
if seconds > 0 then
  epoch = next_epoch(redis.call('ZSCORE', KEYS[3], ''), KEYS[3])
  redis.call('ZADD', KEYS[3], pod * STEP + epoch, ARGV[1], -epoch, '')
  redis.call('EXPIRE', KEYS[1], seconds)
  recount(KEYS[4], KEYS[3], math.floor(score / STEP), pod, seconds * 1000)
else
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('DEL', KEYS[1])
  recount(KEYS[4], KEYS[3], math.floor(score / STEP), -1)
end
return {1, pod, epoch}
