--[[
  Take room for links that will be made: the first step on a Redis Cluster, where the script that makes a link cannot see
  the counts. Who makes fewer gives the rest back (adjustCounts).

  KEYS[1]  hash  the service's counts  sf:{ns:state:svc}#n
  ARGV[1]  how many links a pod may have
  ARGV[2]  how many are wanted in all
  ARGV[3…] pod index, how many are wanted there at most …: the first ones are preferred

  Returns  {0, given, given …} for the pods in their order; {2} when all of them are full, and {3} when that is to be
           counted first: nobody has, or links may have expired since. Nothing was changed in these two cases
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/counts.lua
local limit, left = tonumber(ARGV[1]), tonumber(ARGV[2])
local known = redis.call('HMGET', KEYS[1], '#', '=')
if not known[1] then
  return {3}
end
local reply, taken = {0}, 0
for i = 3, #ARGV, 2 do
  local room = limit - tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)
  local given = math.max(0, math.min(room, tonumber(ARGV[i + 1]), left))
  reply[#reply + 1] = given
  left, taken = left - given, taken + given
  if given > 0 then
    add(KEYS[1], ARGV[i], given)
    if known[2] then add(KEYS[1], '=' .. ARGV[i], given) end
  end
end
if taken == 0 then
  return {tonumber(known[1]) > clock() and 2 or 3}
end
return reply
