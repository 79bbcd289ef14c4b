--[[
  The fence: whether a pod still owns a uid since the epoch that it was given. Reads only.

  KEYS[1]  string  the link            sf:{ns:lk:uid}svc
  KEYS[2]  hash    the uid's links     sf:{ns:lk:uid}
  KEYS[3]  zset    the bucket's index  sf:{tag}ix:ns:svc
  ARGV[1]  uid
  ARGV[2]  service name
  ARGV[3]  pod index
  ARGV[4]  epoch

  Returns  1 if the link names the pod and the index entry is the epoch, else 0
  Nobody owns a retained link (statefulRemoveLink): it has a time to live and no field in the uid's hash.
]]
-- include lib/score.lua
-- include lib/ordinal.lua
local pod = tonumber(ARGV[3])
if ordinal(redis.call('GET', KEYS[1])) ~= pod then
  return 0
end
local score = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or -1)
if score < 0 or score ~= pod * STEP + tonumber(ARGV[4]) then  -- of a link without an entry there is no epoch
  return 0
end
local field = redis.pcall('HGET', KEYS[2], ARGV[2])  -- a key of another type says nothing: the link is the truth
if field == false and redis.call('PTTL', KEYS[1]) >= 0 then
  return 0
end
return 1
