--[[
  How many index entries each pod has in some buckets. Reads only.

  KEYS[i]  zset  the i-th bucket's index  sf:{tag}ix:ns:svc

  Returns  {pod, count, pod, count …} over all these buckets; empty for none
]]
-- include lib/score.lua
local floor = math.floor
local counts = {}
for i = 1, #KEYS do
  local entries = redis.call('ZRANGEBYSCORE', KEYS[i], 0, '+inf', 'WITHSCORES')
  for j = 2, #entries, 2 do
    local pod = floor(entries[j] / STEP)
    counts[pod] = (counts[pod] or 0) + 1
  end
end
local flat = {}
for pod, count in pairs(counts) do
  flat[#flat + 1] = pod
  flat[#flat + 1] = count
end
return flat
