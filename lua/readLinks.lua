--[[
  Links of one bucket, with all that is known of them. Reads only.

  KEYS[1]    zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[1+i]  string  the i-th link       sf:{ns:lk:uid}svc
  ARGV[i]    the i-th uid

  Returns  {ms since the epoch, for each uid: pod, when it expires, epoch, …}
           pod        -1: there is no link, -2: it holds no pod index
           expires    ms since the epoch, -1 for a persistent link
           epoch      -1 for a link that is not in the index, or there under another pod
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
local links = {}
for i = 1, #ARGV do
  links[i] = KEYS[1 + i]
end
local pods = redis.call('MGET', unpack(links))
local scores = redis.call('ZMSCORE', KEYS[1], unpack(ARGV))
local now = clock()
local reply = {now}
for i = 1, #ARGV do
  local pod = ordinal(pods[i]) or pods[i] and -2 or -1
  local score = tonumber(scores[i] or -1)
  local indexed = math.floor(score / STEP)
  local lives = pod >= 0 and redis.call('PTTL', links[i]) or -1
  reply[#reply + 1] = pod
  reply[#reply + 1] = lives >= 0 and now + lives or -1
  reply[#reply + 1] = pod >= 0 and indexed == pod and score - indexed * STEP or -1
end
return reply
