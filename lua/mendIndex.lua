--[[
  Take out of the index of some buckets what no script of ours can have written: damage that a look at links cannot see.

  KEYS[i]  zset  the i-th bucket's index  sf:{tag}ix:ns:svc
  ARGV[i]  members that do not belong into any of these buckets; none, mostly

  Returns  how many entries were dropped; a key of another type counts as one, it is deleted
  A bucket's highest epoch is raised to that of its entries where that is higher (it may have been lost), never lowered.
]]
-- include lib/score.lua
-- include lib/epoch.lua
local PODS = 8192
local dropped = 0
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'zset' then
    dropped = dropped + redis.call('DEL', key)
  else
    for i = 1, #ARGV do
      dropped = dropped + redis.call('ZREM', key, ARGV[i])
    end
    local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    local known, highest = nil, 0
    for i = 1, #entries, 2 do
      local uid, score = entries[i], tonumber(entries[i + 1])
      if uid == '' then
        known = -score
        highest = math.max(highest, known)
      elseif score < 0 or score >= PODS * STEP or score ~= math.floor(score) then
        dropped = dropped + redis.call('ZREM', key, uid)
      else
        highest = math.max(highest, score % STEP)
      end
    end
    if highest > 0 and not known then
      highest = math.max(highest, highest_epoch(nil, key))
    end
    if highest > 0 and highest ~= known then
      redis.call('ZADD', key, string.format('%.0f', -highest), '')
    end
  end
end
return dropped
