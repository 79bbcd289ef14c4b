--[[
  Delete links of one bucket, whichever pod they name (the StatefulRoute is deleted, and its policy says so).

  KEYS[1]      zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[2i]     string  the i-th link       sf:{ns:lk:uid}svc
  KEYS[2i+1]   hash    that uid's links    sf:{ns:lk:uid}
  KEYS[2n+2]   string  the bucket's floor  sf:{tag}ix:ns:svc}hi, after the n links
  KEYS[2n+3]   hash    the service's counts, not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]      service name
  ARGV[2]      seconds that a floor lives
  ARGV[2+i]    the i-th uid

  Returns  {how many links there were, an epoch that none of this bucket is above}
  An index that holds no link any more goes; its highest epoch stays behind as the bucket's floor, so that none falls.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/counts.lua
local count = math.floor(#KEYS / 2) - 1
local counts = KEYS[2 * count + 3]
local uids = {''}
for i = 1, count do
  uids[1 + i] = ARGV[2 + i]
end
local scores = redis.call('ZMSCORE', KEYS[1], unpack(uids))
local highest = highest_epoch(scores[1], KEYS[1])
local deleted, changes = 0, {}
for i = 1, count do
  highest = math.max(highest, scores[1 + i] and tonumber(scores[1 + i]) % STEP or 0)
  deleted = deleted + redis.call('DEL', KEYS[2 * i])
  note(changes, scores[1 + i] and math.floor(scores[1 + i] / STEP) or -1, -1)
  redis.pcall('HDEL', KEYS[2 * i + 1], ARGV[1])  -- may be a foreign key of another type
end
local text = string.format('%.0f', highest)
local left = redis.call('ZCARD', KEYS[1])
for i = 1, count + 1 do
  left = left - (scores[i] and 1 or 0)
end
if left > 0 then
  redis.call('ZADD', KEYS[1], '-' .. text, '')
  table.remove(uids, 1)
elseif highest > 0 then
  redis.call('SET', KEYS[2 * count + 2], text, 'EX', ARGV[2])
end
if #uids > 0 then
  redis.call('ZREM', KEYS[1], unpack(uids))  -- last: a Cluster whose slot moves lets no script touch a key that has gone
end
keep_counts(counts, KEYS[1], changes)
return {deleted, highest}
