--[[
  Drop entries of the stream of moves that are too old; its newest one stays, so that a reader knows where it stands.

  KEYS[1]  stream  the service's moves  sf:{ns:state:svc}#mv
  ARGV[1]  how old an entry may be, in ms

  Returns  how many were dropped
]]
-- include lib/score.lua
-- include lib/epoch.lua
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not newest then
  return 0
end
local oldest = clock() - ARGV[1]
local at = tonumber(string.match(newest[1], '^%d+'))
return redis.call('XTRIM', KEYS[1], 'MINID', at < oldest and newest[1] or string.format('%.0f', oldest))
