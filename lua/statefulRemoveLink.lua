--[[
  Remove a uid's link, whatever it names: at once, or kept for some seconds so that late callers still find the pod.

  KEYS[1]  string  the link            sf:{ns:lk:uid}svc
  KEYS[2]  hash    the uid's links     sf:{ns:lk:uid}
  KEYS[3]  zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[4]  hash    the service's counts, not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]  uid
  ARGV[2]  service name
  ARGV[3]  seconds to keep it as a temporary link, 0 for not at all

  Returns  {1 if there was a link, else 0; pod that it named or -1; epoch}: the epoch by which the removal can be told,
           the new one of a retained link, else that of the link that was removed, -1 if it had none
  A link that is kept is retained: it has a time to live and no field in the uid's hash. Nobody owns it (isOwner), its
  epoch is a new one, so the former owner's is void; it stays in the index and moves like a temporary one.
  A value that is no pod index is not kept.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
-- include lib/counts.lua
local seconds = tonumber(ARGV[3])
local current = redis.call('GET', KEYS[1])
local pod = ordinal(current) or -1
local score = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or -1)

redis.call('HDEL', KEYS[2], ARGV[2])  -- first: its key alone has not been read, and may be of another type
local epoch = pod >= 0 and math.floor(score / STEP) == pod and score % STEP or -1
if seconds > 0 and pod >= 0 then
  epoch = next_epoch(redis.call('ZSCORE', KEYS[3], ''), KEYS[3])
  redis.call('ZADD', KEYS[3], pod * STEP + epoch, ARGV[1], -epoch, '')
  redis.call('EXPIRE', KEYS[1], seconds)
  recount(KEYS[4], KEYS[3], math.floor(score / STEP), pod, seconds * 1000)
else
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('DEL', KEYS[1])
  recount(KEYS[4], KEYS[3], math.floor(score / STEP), -1)
end
return {current and 1 or 0, pod, epoch}
