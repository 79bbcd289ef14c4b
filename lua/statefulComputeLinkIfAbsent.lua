--[[
  The pod of a uid: the one it is linked to, unless that pod is dead; else the best candidate, linked in the same step.

  KEYS[1]  string  the link            sf:{ns:lk:uid}svc
  KEYS[2]  hash    the uid's links     sf:{ns:lk:uid}
  KEYS[3]  zset    the bucket's index  sf:{tag}ix:ns:svc
  ARGV[1]  uid
  ARGV[2]  service name
  ARGV[3]  seconds to live of a link that is made, moved or renewed, -1 for a persistent one
  ARGV[4]  ms: a link that is found and has less left to live is renewed; 0: none is. A retained one never is
  ARGV[5]  the dead pods, each between commas: ',3,17,'; '' for none. Whoever drains a pod calls it dead, too
  ARGV[6]  the doubted pods, likewise: the caller takes them for dead, and has not made sure of it yet
  ARGV[7]  turn, a number from 0: among candidates of the same load it is the turn of the (turn mod their number)-th
  ARGV[8…] pod index, load, pod index, load …: the candidates; the lowest load is the best, dead or doubted ones do not
           count

  Returns  {pod, epoch, pod it was linked to before or -1, ms to live or -1 for a persistent link, 0};
           the link as it is, its epoch -1 if it has none yet, and 1 at the end when its pod is a doubted one;
           {-1, -1, that pod, -1, 0} when there is no candidate for it. Nothing was changed in these two cases
  Error    FOREIGN when a link is there whose value is no pod index; it is left untouched
  A link that a foreign client made without our index is entered there: that is how it gets an epoch.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
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
  local lowest, best = math.huge, {}
  for i = 8, #ARGV, 2 do
    local load = tonumber(ARGV[i + 1])
    if load <= lowest and not is_in(dead, ARGV[i]) and not is_in(doubted, ARGV[i]) then
      if load < lowest then lowest, best = load, {} end
      best[#best + 1] = tonumber(ARGV[i])
    end
  end
  if #best == 0 then
    return {-1, -1, before or -1, -1, 0}
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
return {pod, epoch, before or -1, lives, 0}
