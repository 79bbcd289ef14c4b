--[[
  The uids whose index entries lie in a score range, bucket by bucket. Reads only.

  KEYS[i]  zset  the i-th bucket's index  sf:{tag}ix:ns:svc
  ARGV[1]  lowest score
  ARGV[2]  highest score

  Returns  {i, {uid …}, …} for the buckets that have any; empty for none
]]
local found = {}
for i = 1, #KEYS do
  local uids = redis.call('ZRANGEBYSCORE', KEYS[i], ARGV[1], ARGV[2])
  if #uids > 0 then
    found[#found + 1] = i
    found[#found + 1] = uids
  end
end
return found
