--[[
  Link a uid to a pod unless another pod has a persistent link to it.

  KEYS[1]  string  the link            sf:{ns:lk:uid}svc
  KEYS[2]  hash    the uid's links     sf:{ns:lk:uid}
  KEYS[3]  zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[4]  hash    the service's counts, not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]  uid
  ARGV[2]  service name
  ARGV[3]  pod index
  ARGV[4]  seconds to live, -1 for a persistent link

  Returns  {1 or 0, pod the uid is linked to afterwards, epoch, pod it was linked to before or -1}; for 0 nothing was
           changed, and the epoch is -1 when a foreign client made that link without our index
  A value that is no pod index is no other pod: it is overwritten. Epochs are as in statefulSetLink.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
-- include lib/counts.lua
local pod, seconds = tonumber(ARGV[3]), tonumber(ARGV[4])
local current = redis.call('GET', KEYS[1])
local previous = ordinal(current) or -1
local lives = redis.call('PTTL', KEYS[1])
local retained = lives >= 0 and not redis.call('HGET', KEYS[2], ARGV[2])
local score = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or -1)
local indexed = math.floor(score / STEP)
local epoch = score - indexed * STEP
if lives == -1 and previous >= 0 and previous ~= pod then
  return {0, previous, indexed == previous and epoch or -1, previous}
end

redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])  -- first: its key may not have been read, and be of another type
if previous ~= pod or indexed ~= pod or retained then
  epoch = next_epoch(redis.call('ZSCORE', KEYS[3], ''), KEYS[3])
  redis.call('ZADD', KEYS[3], pod * STEP + epoch, ARGV[1], -epoch, '')
end
if seconds == -1 then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[3], 'EX', seconds)
end
recount(KEYS[4], KEYS[3], indexed, pod, seconds == -1 and -1 or seconds * 1000)
return {1, pod, epoch, previous}
