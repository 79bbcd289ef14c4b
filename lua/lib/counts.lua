-- Counts: pod index → how many entries of the service's indexes name it. Needs lib/epoch.lua. `counts`, the key, is nil on
-- a Redis Cluster, where it lies in another slot. Nothing is kept up before somebody has counted (endCount). Fields:
--   #      ms since 1970 until when "full" holds: no link of the service expires before
--   =      while the links are counted anew: the place of the last index that was counted; =<pod> what was counted so far,
--          =# until when that will hold, ~ who counts, and until when that is believed

-- The place of an index among those of its service, by the three letters of its tag, which begin at the fifth of its
-- name. (To compare the names themselves would go by the server's locale.)
local function place(index)
  local first, second, third = string.byte(index, 5, 7)
  return (first * 256 + second) * 256 + third
end

-- (Not by HINCRBY, which an ACL of an earlier version does not grant.)
local function add(counts, field, by)
  redis.call('HSET', counts, field, string.format('%.0f', tonumber(redis.call('HGET', counts, field) or 0) + by))
end

-- `changes`: pod → how many entries more name it; those of a pod below 0 do not matter. `lives`: ms that one of the links
-- has been given to live; nil or -1: for ever, or no less than before.
local function keep_counts(counts, index, changes, lives)
  local known = counts and redis.pcall('HMGET', counts, '#', '=', '=#')
  if not known or known.err or not (known[1] or known[2]) then return end
  local behind = known[2] and place(index) <= tonumber(known[2])
  for pod, by in pairs(changes) do
    if pod >= 0 and by ~= 0 then
      if known[1] then add(counts, pod, by) end
      if behind then add(counts, '=' .. pod, by) end
    end
  end
  local at = lives and lives >= 0 and clock() + lives or math.huge
  if tonumber(known[1] or 0) > at then redis.call('HSET', counts, '#', string.format('%.0f', at)) end
  if tonumber(known[3] or 0) > at then redis.call('HSET', counts, '=#', string.format('%.0f', at)) end
end

-- An entry has named a pod, and names another one now; -1 for none.
local function recount(counts, index, from, to, lives)
  if from ~= to then
    keep_counts(counts, index, {[from] = -1, [to] = 1}, lives)
  elseif lives and lives >= 0 then
    keep_counts(counts, index, {}, lives)
  end
end

-- The same, for a script that calls `keep_counts` once for many entries.
local function note(changes, from, to)
  changes[from] = (changes[from] or 0) - 1
  changes[to] = (changes[to] or 0) + 1
end
