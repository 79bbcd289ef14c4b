--[[
  The pod of a uid: the one it is linked to, unless that pod is dead; else the best candidate, linked in the same step.

  KEYS[1]  string  the link            sf:{ns:lk:uid}svc
  KEYS[2]  hash    the uid's links     sf:{ns:lk:uid}
  KEYS[3]  zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[4]  hash    the service's counts, not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]  uid
  ARGV[2]  service name
  ARGV[3]  seconds to live of a link that is made, moved or renewed, -1 for a persistent one
  ARGV[4]  ms: a link that is found and has less left to live is renewed; 0: none is. A retained one never is
  ARGV[5]  the dead pods, each between commas: ',3,17,'; '' for none. Whoever drains a pod calls it dead, too
  ARGV[6]  the doubted pods, likewise: the caller takes them for dead, and has not made sure of it yet
  ARGV[7]  turn, a number from 0: among candidates of the same load it is the turn of the (turn mod their number)-th
  ARGV[8]  how many links a candidate may have, 0 for any number; one that has as many does not count
  ARGV[9…] pod index, load, pod index, load …: the candidates; the lowest load is the best, dead or doubted ones do not
           count

  Returns  {pod, epoch, pod it was linked to before or -1, ms to live or -1 for a persistent link, 0};
           the link as it is, its epoch -1 if it has none yet, and 1 at the end when its pod is a doubted one;
           {-1, -1, that pod, -1, 0} when there is no candidate for it, with 2 at the end when all are full, and with 3
           when that is to be found out first: nobody has counted, or links may have expired since, or it is a Redis
           Cluster (see takeRoom). Nothing was changed in these cases
  Error    FOREIGN when a link is there whose value is no pod index; it is left untouched
  A link that a foreign client made without our index is entered there: that is how it gets an epoch.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
-- include lib/counts.lua
local seconds, dead = tonumber(ARGV[3]), ARGV[5]
local doubted = ARGV[6]
local function is_in(pods, pod)
  return pods ~= '' and string.find(pods, ',' .. pod .. ',', 1, true)
end
local current = redis.call('GET', KEYS[1])
local before = ordinal(current)
if current and not before then
  return redis.error_reply('FOREIGN the link holds no pod index')
end
local pod, found = before, before and not is_in(dead, before)
local in_doubt = found and is_in(doubted, before)
if not found then
  local limit, lowest, best, full = tonumber(ARGV[8]), math.huge, {}, false
  local counted = limit > 0 and KEYS[4] and redis.call('HGET', KEYS[4], '#')
  for i = 9, #ARGV, 2 do
    local load, out = tonumber(ARGV[i + 1]), is_in(dead, ARGV[i]) or is_in(doubted, ARGV[i])
    if not out and limit > 0 then
      out = not counted or tonumber(redis.call('HGET', KEYS[4], ARGV[i]) or 0) >= limit
      full = full or out
    end
    if load <= lowest and not out then
      if load < lowest then lowest, best = load, {} end
      best[#best + 1] = tonumber(ARGV[i])
    end
  end
  if #best == 0 then
    return {-1, -1, before or -1, -1, full and (counted and tonumber(counted) > clock() and 2 or 3) or 0}
  end
  pod = best[tonumber(ARGV[7]) % #best + 1]
end
local lives = seconds == -1 and -1 or seconds * 1000
if found then
  local left = redis.call('PTTL', KEYS[1])
  local renewed = not in_doubt and left >= 0 and left < tonumber(ARGV[4])
  if renewed and redis.call('HGET', KEYS[2], ARGV[2]) then  -- not a retained one: it must end
    redis.call('PEXPIRE', KEYS[1], lives)
  else
    lives = left
  end
end
local score = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or -1)
local indexed = math.floor(score / STEP)
local epoch = score - indexed * STEP
if found and (indexed == pod or in_doubt) then
  return {pod, indexed == pod and epoch or -1, before, lives, in_doubt and 1 or 0}
end
epoch = next_epoch(redis.call('ZSCORE', KEYS[3], ''), KEYS[3])

if not found then
  redis.call('HSET', KEYS[2], ARGV[2], pod)  -- first: its key alone has not been read, and may be of another type
end
redis.call('ZADD', KEYS[3], pod * STEP + epoch, ARGV[1], -epoch, '')
if not found and seconds == -1 then
  redis.call('SET', KEYS[1], pod)
elseif not found then
  redis.call('SET', KEYS[1], pod, 'EX', seconds)
end
recount(KEYS[4], KEYS[3], indexed, pod, not found and lives)
return {pod, epoch, before or -1, lives, 0}
