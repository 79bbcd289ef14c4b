--[[
  Say which layout a store has that does not say so yet.

  KEYS[1]  hash  what is true of the whole store  sf:meta
  ARGV[1]  the version

  Returns  1 if it was written, 0 if a version stood there: it is left as it is
]]
return redis.call('HSETNX', KEYS[1], 'layout', ARGV[1])
