--[[
  Publish one pod's service state: the app's layer, merged with the operator's.

  KEYS[1]  hash    the service states      sf:{ns:state:svc}
  KEYS[2]  hash    the operator's records  sf:{ns:state:svc}#op
  KEYS[3]  stream  effective changes       sf:{ns:state:svc}#ev
  ARGV[1]  pod index
  ARGV[2]  load as JSON has it, smaller is less
  ARGV[3]  the app's word: READY, DENY_NEW_CALL or SHUTDOWN
  ARGV[4]  its incarnation <pod uid>/<restarts>, or <pod uid> when it does not know how often it was restarted, or ''
  ARGV[5]  PUBLISH, or SPUBLISH on a Redis Cluster
  ARGV[6]  the service's channel, where callers are woken  sf:{ns:state:svc}#ch
  ARGV[7]  about how many entries the stream keeps
  ARGV[8]  1 for the first word of an incarnation: whoever has spoken for this pod index before has a successor now; 0 for
           a further one: whoever has spoken since is its successor, unless it is known to be replaced; '' for unknown
  ARGV[9]  when it spoke first, ms since the epoch by this server's clock, as it was told then; '' for unknown
  ARGV[10…] pod uids that the caller knows to be replaced, the latest first: a store that was emptied has forgotten them

  Returns  {effective routing state, ms since the epoch, 1 if there was a record before else 0, replaced pod uid, …}
  Error    REPLACED when the incarnation has a successor, also one of which only that speaks: nothing is written then
]]
local FORMER = 8  -- so many are remembered: a pod that was replaced that often is gone for certain
local SEVERITY = {READY = 0, DENY_NEW_CALL = 1, SHUTDOWN = 2}
local pod, word, life = ARGV[1], ARGV[3], ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function parsed(text)
  local good, value = pcall(cjson.decode, text or '')
  return good and type(value) == 'table' and value or nil
end

local record, state = parsed(redis.call('HGET', KEYS[2], pod)), parsed(redis.call('HGET', KEYS[1], pod))
local former, listed = {}, {}
local function list(uid)
  if not listed[uid] and #former < FORMER then
    listed[uid] = true
    former[#former + 1] = uid
  end
end
local told = state and type(state.former) == 'table' and state.former or {}
local other_life = false
if life ~= '' then
  local uid, restarts = string.match(life, '^(.*)/(%d+)$')
  uid = uid or life
  for _, known in ipairs({told, record and record.former or {}}) do
    for _, gone in ipairs(known) do
      if gone == uid then return redis.error_reply('REPLACED') end
    end
  end
  local before = state and type(state.inc) == 'string' and string.gsub(state.inc, '/%d+$', '') or uid
  other_life = before ~= uid
  if other_life then
    list(before)
    local known = false
    for i = 10, #ARGV do known = known or ARGV[i] == before end
    local later = tonumber(state.since or 0) >= (tonumber(ARGV[9]) or 0)
    if ARGV[8] == '0' and later and not known then  -- it finds another life where it has spoken before
      return redis.error_reply('REPLACED')
    end
  end
  for i = 10, #ARGV do list(ARGV[i]) end
  local known_uid, known_restarts = string.match(record and record.incarnation or '', '^(.*)/(%d+)$')
  if restarts and known_uid == uid and tonumber(restarts) < tonumber(known_restarts) then
    return redis.error_reply('REPLACED')
  end
end
for _, gone in ipairs(told) do list(gone) end
local effective = word
if record and SEVERITY[record.state] and SEVERITY[record.state] > SEVERITY[word] then
  effective = record.state
end
-- Its preStop hook has said that it stops: that holds until another life of it speaks, or its time is over. When it is,
-- the operator says of what it has noted: this server's clock may have been set.
local stops = ARGV[8] ~= '1' and not other_life and state and tonumber(state.stops) or 0
if stops > now and SEVERITY[effective] < SEVERITY.DENY_NEW_CALL then effective = 'DENY_NEW_CALL' end
local before = state and SEVERITY[state.routingState] and state.routingState or ''
local prior
if before ~= effective or other_life then
  prior = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]  -- before anything is written: it may be of another type
end
local life_field = life ~= '' and ',"inc":' .. cjson.encode(life) or ''
local since, lives = tonumber(ARGV[9]), state and not other_life and tonumber(state.lives) or nil
if ARGV[8] == '1' then  -- later than whoever has spoken before, also when this server's clock was set back
  since = math.max(now, (state and tonumber(state.since) or 0) + 1)
  local first = not state or state.op == true or other_life
  lives = first and 1 or lives and lives + 1  -- of this pod; unknown stays unknown
end
if lives then life_field = life_field .. string.format(',"lives":%.0f', lives) end
if since then life_field = life_field .. string.format(',"since":%.0f', since) end
if stops > now or stops == tonumber(record and record.stops) then
  life_field = life_field .. string.format(',"stops":%.0f', stops)
end
if #former > 0 then
  life_field = life_field .. ',"former":' .. cjson.encode(former)
end
local found = state and 1 or 0
local fresh = '{"state":%s,"routingState":"%s","updateTime":%.0f,"app":"%s"%s}'  -- cjson would round a long load
redis.call('HSET', KEYS[1], pod, string.format(fresh, ARGV[2], effective, now, word, life_field))
if before ~= effective or other_life then  -- who has spoken before has to see who speaks now
  local known = prior and prior[1] or '0-0'
  local id = before == effective and known
    or redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], '*', 'pod', pod, 'from', before, 'to', effective, 'reason', 'App')
  redis.call(ARGV[5], ARGV[6], 'ev ' .. known .. ' ' .. id .. ' ' .. pod .. '=' .. effective)
end
return {effective, now, found, unpack(former)}
