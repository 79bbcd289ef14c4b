--[[
  Delete links of one bucket, whichever pod they name (the StatefulRoute is deleted, and its policy says so).

  KEYS[1]      zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[2i]     string  the i-th link       sf:{ns:lk:uid}svc
  KEYS[2i+1]   hash    that uid's links    sf:{ns:lk:uid}
  ARGV[1]      service name
  ARGV[1+i]    the i-th uid

  Returns  how many links there were
]]
local deleted = 0
for i = 1, (#KEYS - 1) / 2 do
  deleted = deleted + redis.call('DEL', KEYS[2 * i])
  redis.pcall('HDEL', KEYS[2 * i + 1], ARGV[1])  -- may be a foreign key of another type
  redis.call('ZREM', KEYS[1], ARGV[1 + i])
end
if redis.call('ZCARD', KEYS[1]) <= 1 then
  redis.call('DEL', KEYS[1])
end
return deleted
