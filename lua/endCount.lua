--[[
  All indexes of a service were counted: these are its counts from now on.

  KEYS[1]  hash  the service's counts  sf:{ns:state:svc}#n
  ARGV[1]  who counts, as in beginCount
  ARGV[2]  ms until the first of the links expires that were seen, or until another look is due
  ARGV[3]  ms for which nobody need count again, whatever expires until then
  ARGV[4…] pod index, count …: what was counted elsewhere (on a Redis Cluster); it is added to what stands here

  Returns  1, or 0 when it is not believed any more: nothing was changed then
]]
-- include lib/score.lua
-- include lib/epoch.lua
local fields, counts, stale = redis.call('HGETALL', KEYS[1]), {}, {}
local holder, soonest = nil, math.huge
for i = 1, #fields, 2 do
  local field, value = fields[i], fields[i + 1]
  local pod = tonumber(string.match(field, '^=(%d+)$'))
  if field == '~' then holder = string.match(value, ' (.*)$') end
  if field == '=#' then soonest = tonumber(value) end
  if pod then counts[pod] = tonumber(value) end
  if field ~= '#' then stale[#stale + 1] = field end
end
if holder ~= ARGV[1] then
  return 0
end
for i = 4, #ARGV, 2 do
  local pod = tonumber(ARGV[i])
  counts[pod] = (counts[pod] or 0) + ARGV[i + 1]
end
for _, field in ipairs(stale) do redis.call('HDEL', KEYS[1], field) end
local now = clock()
redis.call('HSET', KEYS[1], '#', string.format('%.0f', math.max(now + ARGV[3], math.min(soonest, now + ARGV[2]))))
for pod, count in pairs(counts) do
  if count ~= 0 then redis.call('HSET', KEYS[1], pod, count) end
end
return 1
