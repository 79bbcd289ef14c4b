--[[
  Count the entries of some indexes, those that come next in the order of their tags; on a Redis Cluster see countLinks.

  KEYS[i]    zset  the i-th bucket's index  sf:{tag}ix:ns:svc
  KEYS[n+1]  hash  the service's counts     sf:{ns:state:svc}#n
  ARGV[1]    who counts, as in beginCount
  ARGV[2]    ms for which that is believed from now on

  Returns  1, or 0 when it is not believed any more: it has to begin again
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/counts.lua
local counts, floor, found = KEYS[#KEYS], math.floor, {}
local holder = redis.call('HGET', counts, '~')
if not holder or string.match(holder, ' (.*)$') ~= ARGV[1] then
  return 0
end
for i = 1, #KEYS - 1 do
  local entries = redis.call('ZRANGEBYSCORE', KEYS[i], 0, '+inf', 'WITHSCORES')
  for j = 2, #entries, 2 do
    local pod = floor(entries[j] / STEP)
    found[pod] = (found[pod] or 0) + 1
  end
end
for pod, count in pairs(found) do
  add(counts, '=' .. pod, count)
end
redis.call('HSET', counts, '=', place(KEYS[#KEYS - 1]), '~', string.format('%.0f %s', clock() + ARGV[2], ARGV[1]))
return 1
