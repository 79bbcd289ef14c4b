--[[
  Link a uid to a pod unless it is linked already.

  KEYS[1]  string  the link            sf:{ns:lk:uid}svc
  KEYS[2]  hash    the uid's links     sf:{ns:lk:uid}
  KEYS[3]  zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[4]  hash    the service's counts, not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]  uid
  ARGV[2]  service name
  ARGV[3]  pod index
  ARGV[4]  seconds to live, -1 for a persistent link

  Returns  {pod the uid is linked to afterwards, epoch, 1 if the link was made now else 0}
  Error    FOREIGN when a link is there whose value is no pod index; it is left untouched
  A link that a foreign client made without our index is entered there: that is how it gets an epoch.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
-- include lib/counts.lua
local seconds = tonumber(ARGV[4])
local current = redis.call('GET', KEYS[1])
local pod = ordinal(current or ARGV[3])
if not pod then
  return redis.error_reply('FOREIGN the link holds no pod index')
end
local score = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or -1)
local indexed = math.floor(score / STEP)
local epoch = score - indexed * STEP

if not current then
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])  -- first: its key alone has not been read, and may be of another type
end
if not current or indexed ~= pod then
  epoch = next_epoch(redis.call('ZSCORE', KEYS[3], ''), KEYS[3])
  redis.call('ZADD', KEYS[3], pod * STEP + epoch, ARGV[1], -epoch, '')
end
if not current then
  if seconds == -1 then
    redis.call('SET', KEYS[1], ARGV[3])
  else
    redis.call('SET', KEYS[1], ARGV[3], 'EX', seconds)
  end
end
recount(KEYS[4], KEYS[3], indexed, pod, not current and seconds ~= -1 and seconds * 1000)
return {pod, epoch, current and 0 or 1}
