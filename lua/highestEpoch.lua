--[[
  The highest epoch that some buckets have issued. Reads only.

  KEYS[i]  zset  the i-th bucket's index  sf:{tag}ix:ns:svc

  Returns  {the highest epoch or 0 for none, ms since the epoch}
  A bucket that has lost what it remembers of it goes by its links.
]]
-- include lib/score.lua
-- include lib/epoch.lua
local highest = 0
for i = 1, #KEYS do
  local score = redis.call('ZSCORE', KEYS[i], '')
  if score then
    highest = math.max(highest, -tonumber(score))
  else
    local entries = redis.call('ZRANGEBYSCORE', KEYS[i], 0, '+inf', 'WITHSCORES')
    for j = 2, #entries, 2 do highest = math.max(highest, entries[j] % STEP) end
  end
end
return {highest, clock()}
