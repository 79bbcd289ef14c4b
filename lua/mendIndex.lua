--[[
  Take out of the index of some buckets what no script of ours can have written: damage that a look at links cannot see.

  KEYS[i]    zset  the i-th bucket's index  sf:{tag}ix:ns:svc
  KEYS[n+1]  hash  the service's counts, after the n indexes; not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]    n
  ARGV[1+i]  members that do not belong into any of these buckets; none, mostly

  Returns  how many entries were dropped; a key of another type counts as one, it is deleted
  A bucket's highest epoch is raised to that of its entries where that is higher (it may have been lost), never lowered.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/counts.lua
local PODS = 8192
local dropped = 0
for nth = 1, tonumber(ARGV[1]) do
  local key, changes = KEYS[nth], {}
  local function drop(uid)
    local score = redis.call('ZSCORE', key, uid)
    if score then note(changes, math.floor(score / STEP), -1) end
    dropped = dropped + redis.call('ZREM', key, uid)
  end
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'zset' then
    dropped = dropped + redis.call('DEL', key)
  else
    for i = 2, #ARGV do
      drop(ARGV[i])
    end
    local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    local known, highest = nil, 0
    for i = 1, #entries, 2 do
      local uid, score = entries[i], tonumber(entries[i + 1])
      if uid == '' then
        known = -score
        highest = math.max(highest, known)
      elseif score < 0 or score >= PODS * STEP or score ~= math.floor(score) then
        drop(uid)
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
    keep_counts(KEYS[#KEYS > tonumber(ARGV[1]) and #KEYS or 0], key, changes)
  end
end
return dropped
