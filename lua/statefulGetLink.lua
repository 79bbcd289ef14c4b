--[[
  The pod that a uid is linked to, and since which epoch.

  KEYS[1]  string  the link            sf:{ns:lk:uid}svc
  KEYS[2]  zset    the bucket's index  sf:{tag}ix:ns:svc
  ARGV[1]  uid

  Returns  {pod or -1, epoch or -1}; the epoch is -1 for a link that a foreign client made without our index
  Error    FOREIGN when the link's value is no pod index
]]
-- include lib/score.lua
-- include lib/ordinal.lua
local current = redis.call('GET', KEYS[1])
if not current then
  return {-1, -1}
end
local pod = ordinal(current)
if not pod then
  return redis.error_reply('FOREIGN the link holds no pod index')
end
local score = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or -1)
local indexed = math.floor(score / STEP)
return {pod, indexed == pod and score - indexed * STEP or -1}
