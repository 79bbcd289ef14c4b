--[[
  Link a uid to a pod, whatever it is linked to now.

  KEYS[1]  string  the link            sf:{ns:lk:uid}svc
  KEYS[2]  hash    the uid's links     sf:{ns:lk:uid}
  KEYS[3]  zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[4]  hash    the service's counts, not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]  uid
  ARGV[2]  service name
  ARGV[3]  pod index
  ARGV[4]  seconds to live, -1 for a persistent link

  Returns  {pod it was linked to before or -1, epoch}
  The epoch is a new one when the owner changes, also from nobody (a retained link has none: see statefulRemoveLink);
  it stays when the same pod keeps the uid.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
-- include lib/counts.lua
local pod, seconds = tonumber(ARGV[3]), tonumber(ARGV[4])
local current = redis.call('GET', KEYS[1])
local previous = ordinal(current) or -1
local retained = not redis.call('HGET', KEYS[2], ARGV[2]) and redis.call('PTTL', KEYS[1]) >= 0
local score = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or -1)
local indexed = math.floor(score / STEP)
local epoch = score - indexed * STEP

redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
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
return {previous, epoch}
