--[[
  The pods that one uid is linked to, for those of its services that the caller has read in the uid's hash.

  KEYS[1]     hash    the uid's links              sf:{ns:lk:uid}
  KEYS[2i]    string  the link to the i-th service sf:{ns:lk:uid}svc
  KEYS[2i+1]  zset    that service's bucket index  sf:{tag}ix:ns:svc
  KEYS[2n+1+i]  hash  the counts of the i-th of n services, not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]     uid
  ARGV[1+i]   the i-th service name

  Returns  {pod or -1, …}, one for each service; -1 when it has no link (any more), or one that holds no pod index
  A field whose link has expired is dropped, with its index entry. The link is the truth: a field that names another pod
  than its link is not believed. A service that has lost its field meanwhile (a retained link) is not linked.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
-- include lib/counts.lua
local count = #ARGV - 1
local services, links, scores = {}, {}, {}
for i = 1, count do
  services[i], links[i] = ARGV[1 + i], KEYS[2 * i]
end
local fields = redis.call('HMGET', KEYS[1], unpack(services))
local values = redis.call('MGET', unpack(links))
for i = 1, count do
  scores[i] = redis.call('ZSCORE', KEYS[2 * i + 1], ARGV[1])  -- an index of another type is found before anything is written
end
local pods = {}
for i = 1, count do
  pods[i] = fields[i] and ordinal(values[i]) or -1
  if fields[i] and not values[i] and redis.call('EXISTS', links[i]) == 0 then
    redis.call('HDEL', KEYS[1], services[i])
    redis.call('ZREM', KEYS[2 * i + 1], ARGV[1])
    recount(KEYS[2 * count + 1 + i], KEYS[2 * i + 1], scores[i] and math.floor(scores[i] / STEP) or -1, -1)
  end
end
return pods
