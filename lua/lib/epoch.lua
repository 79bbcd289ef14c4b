-- Epochs; needs lib/score.lua. The empty member of an index has minus the highest epoch of its bucket.

-- This server's clock: ms since 1970.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The highest epoch that was issued in a bucket; `score`: of its index's empty member, as ZSCORE and ZMSCORE give it.
-- Without that member the floor counts, which a purge has left behind. It is no declared key: it is rarely there, and a
-- Redis Cluster refuses scripts with a declared key that is not there while the slot moves. An error counts as none.
local function highest_epoch(score, index)
  if score then return -tonumber(score) end
  local floor = redis.pcall('GET', index .. '}hi')
  return type(floor) == 'string' and tonumber(floor) or 0
end

-- An epoch above all that were issued in the bucket, and not below the time since 2025-01-01.
local function next_epoch(score, index, now)
  return math.max(highest_epoch(score, index) + 1, (now or clock()) - START)
end
