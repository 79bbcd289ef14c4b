--[[
  Write the operator's layer of some pods, merge it with what their apps say, and tell callers and apps what changed:
  the effective state, what becomes of the links, or until when the app is to give them away.

  KEYS[1]  hash    the service states      sf:{ns:state:svc}
  KEYS[2]  hash    the operator's records  sf:{ns:state:svc}#op
  KEYS[3]  string  the owner               sf:{ns:state:svc}#own
  KEYS[4]  stream  effective changes       sf:{ns:state:svc}#ev
  ARGV[1]  the caller, as in #own
  ARGV[2]  PUBLISH, or SPUBLISH on a Redis Cluster
  ARGV[3]  the service's channel, where callers are woken  sf:{ns:state:svc}#ch
  ARGV[4]  about how many entries the stream keeps
  ARGV[3+2i], ARGV[4+2i]  pod index and decision (JSON) of the i-th pod

  Returns  {ms since the epoch, for each pod its record (JSON), …, and a flag: 1 when its state record does not parse}
  Error    OWNED <owner> when the service is somebody else's or nobody's; nothing is written then
  A record that does not parse is left as it is; in one that is not ours only the routing state and stops are changed.
  Of a decision since and stops are moments that the operator has in its own clock, by this server's clock as it goes now:
  since counts where state and reason stay, stops (absent: it is over) where stopsRead is what stands in the state record.
]]
-- include lib/score.lua
-- include lib/epoch.lua
local owner = redis.call('GET', KEYS[3]) or ''
if owner ~= ARGV[1] then
  return redis.error_reply('OWNED ' .. owner)
end
local prior = redis.call('XREVRANGE', KEYS[4], '+', '-', 'COUNT', 1)[1]  -- before anything is written: it may be of another type
local FORMER = 8  -- as in statefulSetState
local SEVERITY = {READY = 0, DENY_NEW_CALL = 1, SHUTDOWN = 2}
local now = clock()
local changed, id = {}, nil

local function parsed(text)
  local good, value = pcall(cjson.decode, text or '')
  return good and type(value) == 'table' and value or nil
end

local function finite(value)
  local number = tonumber(value == nil and 0 or value)
  return number and number - number == 0
end

-- A state record as ServiceState.from_json reads it, or nil: a foreign writer's mistake must not stop the other pods.
local function service_state(text)
  local state = parsed(text)
  local app = state and state.app ~= cjson.null and state.app or nil
  if not state or not SEVERITY[state.routingState] or app and not SEVERITY[app] then return nil end
  return finite(state.state) and finite(state.updateTime) and state or nil
end

-- What the app says by itself: its own word, or a foreign record's state unless that is our own writing, read and echoed.
local function app_word(state, old, new, same_life)
  if not state or state.op == true then return nil end
  if SEVERITY[state.app] then
    local life = type(state.inc) == 'string' and state.inc or nil
    local exact = life and string.find(life, '/', 1, true)
    local known = exact and new.incarnation or string.match(new.incarnation or '', '^(.*)/%d+$')
    local mine = not life or life == known
    return mine and (exact or tonumber(state.updateTime or 0) ~= new.heard) and state.app or nil
  end
  if old and state.routingState == old.written and SEVERITY[old.state] >= SEVERITY[old.written] then
    return same_life and old.appWord or nil
  end
  return (same_life or not old) and state.routingState or nil
end

-- As Container.follows: another id, or another start where an id is not known, of the container of the same name.
local function is_another_container(old, new)
  if type(old) ~= 'table' or type(new) ~= 'table' then return false end
  local old_id, old_start, old_name = old[1] or '', old[2] or '', old[3] or ''
  local new_id, new_start, new_name = new[1] or '', new[2] or '', new[3] or ''
  if old_name ~= '' and new_name ~= '' and old_name ~= new_name then return false end
  if old_id ~= '' and new_id ~= '' then return old_id ~= new_id end
  return old_start ~= '' and new_start ~= '' and old_start ~= new_start
end

local function is_same_life(old, new)
  if not old or not new.incarnation or not old.incarnation then return true end
  return old.incarnation == new.incarnation and not is_another_container(old.container, new.container)
end

-- Pods that this one, or one before it, has replaced, the latest first: as the record says, and as the operator
-- remembers (a store that was emptied has forgotten it).
local function replaced(new, old, same_life)
  local former, listed = {}, {[string.match(new.incarnation or '', '^(.*)/%d+$') or ''] = true}
  local function list(uid)
    if type(uid) == 'string' and not listed[uid] and #former < FORMER then
      listed[uid] = true
      former[#former + 1] = uid
    end
  end
  if not same_life then list(string.match(old.incarnation, '^(.*)/%d+$')) end
  for _, known in ipairs({new.former or {}, old and old.former or {}}) do
    for _, uid in ipairs(known) do list(uid) end
  end
  return #former > 0 and former or nil
end

local reply = {now}
for i = 5, #ARGV, 2 do
  local pod, new = ARGV[i], cjson.decode(ARGV[i + 1])
  local raw = redis.call('HGET', KEYS[1], pod)
  local old, state = parsed(redis.call('HGET', KEYS[2], pod)), service_state(raw)
  if old and not SEVERITY[old.state] then old = nil end
  local same_life = is_same_life(old, new)

  if same_life then
    new.heard = old and old.heard
  elseif state and state.app and not new.begun then  -- what stands is an earlier life's word, as far as is known
    new.heard = tonumber(state.updateTime)
  end
  new.appWord = app_word(state, old, new, same_life)
  new.begun = new.appWord and state.app and tonumber(state.since) or same_life and old and old.begun or nil
  local stops = same_life and state and tonumber(state.stops) or 0  -- the hook of an earlier life counts no more
  if stops ~= new.stopsRead then new.stops = stops > now and stops or nil end  -- a hook has spoken meanwhile, or none has
  new.stopsRead = nil
  local written = new.state
  if new.appWord and SEVERITY[new.appWord] > SEVERITY[written] then written = new.appWord end
  if new.stops and SEVERITY[written] < SEVERITY.DENY_NEW_CALL then written = 'DENY_NEW_CALL' end
  new.since = old and old.state == new.state and old.reason == new.reason and (new.since or old.since) or now
  new.former = replaced(new, old, same_life)

  local before = state and state.routingState or old and old.written or ''
  local note = new.stops and string.format(',"stops":%.0f', new.stops) or ''
  if state and state.op ~= true then
    if state.stops and tonumber(state.stops) ~= new.stops then
      local text, hits = string.gsub(raw, ',%s*"stops"%s*:%s*%d+', note)
      state.stops = new.stops
      raw = hits == 1 and text or cjson.encode(state)
      redis.call('HSET', KEYS[1], pod, raw)
    end
    if state.routingState ~= written then
      local text, hits = string.gsub(raw, '("routingState"%s*:%s*)"[A-Z_]*"', '%1"' .. written .. '"')
      if hits ~= 1 then
        state.routingState = written
        text = cjson.encode(state)
      end
      redis.call('HSET', KEYS[1], pod, text)
    end
  elseif state or not raw then
    local text = string.format('{"state":0,"routingState":"%s","updateTime":%.0f,"op":true%s}', written, now, note)
    redis.call('HSET', KEYS[1], pod, text)
  end
  new.written = written
  local record = cjson.encode(new)
  redis.call('HSET', KEYS[2], pod, record)
  local links, release = old and old.links or 'stay', old and old.release or cjson.null
  if before ~= written or links ~= new.links or release ~= (new.release or cjson.null) then
    changed[#changed + 1] = pod .. '=' .. written .. '/' .. new.links
  end
  if before ~= written then
    id = redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[4], '*', 'pod', pod, 'from', before, 'to', written, 'reason', new.reason)
  end
  reply[#reply + 1] = record
  reply[#reply + 1] = raw and not state and 1 or 0
end
if #changed > 0 then
  local known = prior and prior[1] or '0-0'
  redis.call(ARGV[2], ARGV[3], 'ev ' .. known .. ' ' .. (id or known) .. ' ' .. table.concat(changed, ' '))
end
return reply
