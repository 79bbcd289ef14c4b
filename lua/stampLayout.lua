--[[
  Say which layout a store has that does not say so yet.

  KEYS[1]  hash  what is true of the whole store  sf:meta
  ARGV[1]  the version

  Returns  1 if it was written, 0 if a version stood there: it is left as it is
]]
if redis.call('HGET', KEYS[1], 'layout') then
  return 0
end
redis.call('HSET', KEYS[1], 'layout', ARGV[1])
return 1
