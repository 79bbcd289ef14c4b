--[[
  Links have come to pods, or have left them: the second step on a Redis Cluster, after the script that did it.

  KEYS[1]  hash  the service's counts  sf:{ns:state:svc}#n
  ARGV[1]  ms that one of the links lives; -1: for ever, or no shorter than before
  ARGV[2…] pod index, how many more …

  Returns  1, or 0 when nobody has counted the links of the service: nothing is kept up then
  What leaves while they are counted anew may have been counted, or not: then it is rather too many.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/counts.lua
local known = redis.call('HMGET', KEYS[1], '#', '=', '=#')
for i = 2, #ARGV, 2 do
  local by = tonumber(ARGV[i + 1])
  if known[1] then add(KEYS[1], ARGV[i], by) end
  if known[2] and by > 0 then add(KEYS[1], '=' .. ARGV[i], by) end
end
local lives = tonumber(ARGV[1])
local at = lives >= 0 and clock() + lives or math.huge
if tonumber(known[1] or 0) > at then redis.call('HSET', KEYS[1], '#', string.format('%.0f', at)) end
if tonumber(known[3] or 0) > at then redis.call('HSET', KEYS[1], '=#', string.format('%.0f', at)) end
return known[1] and 1 or 0
