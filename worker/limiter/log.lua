-- What every script of the limiter begins with: the clock, the keys, the logs, the gate.
-- This text stands in front of each script, so that they are sent to Redis as one.
--
-- An account has three logs of what was and will be sent: ZSETs whose scores are slots, integer
-- microseconds of Redis' own clock. A client's clock is never used: clocks of workers differ.
--
--   KEYS[1] users     ZSET "<weight>:<permit>" -> slot   weight = users in the request
--   KEYS[2] requests  ZSET "<permit>"          -> slot   each weighs 1
--   KEYS[3] posts     ZSET "<permit>"          -> slot   of these, the ones that carry users
--   KEYS[4] booked    ZSET "<weight>:<permit>" -> slot   permits not yet confirmed
--   KEYS[5] gate      HASH server, until_us, kind, reason, probing, probe, probe_until_us,
--                          unknown_until_us, forgot_until_us, cap, cap_at_us, cap_until_us, last
--   KEYS[6] turn      HASH why -> us             when the next caller denied for `why` may return;
--                          post, poll -> us      until when one denied for requests is awaited
--   KEYS[7] flows     HASH run -> its place in the fair order (fair.lua)
--
--   ARGV[1] users_window_us, ARGV[2] requests_window_us: each with the guard in it
--   ARGV[3] keep_ms: lifetime of the keys after the last write
--   ARGV[4] probe_us: a probe whose answer was not reported by then is taken for lost
--   ARGV[5] slack_us: slots are booked so much further apart than they must be. Else every wake-up
--           that is a little late would push all bookings behind it, each at the cost of a call
--
-- Windows are closed: an entry exactly one window old still counts. So the first slot that no
-- longer sees an entry is: entry + window + 1 us.

local USERS, REQUESTS, POSTS, BOOKED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local GATE, TURN, FLOWS = KEYS[5], KEYS[6], KEYS[7]
local USERS_WINDOW, REQUESTS_WINDOW, KEEP_MS = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local PROBE_US = tonumber(ARGV[4])
local EXTRA = 0  -- reserve.lua sets it to the slack; what is checked at the end is the window alone
local LONGEST_PAUSE = 3600 * 1000000  -- as in limiter.py: no pause is longer
local GATE_KEEP_MS = 7 * 24 * 3600 * 1000  -- an account idle for longer begins cold, harmlessly

-- Lua prints 1.8e15 in exponential form with 14 digits; that would lose microseconds.
local function int(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local NOW = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function weight_of(member)
  return tonumber(string.match(member, '^%d+'))
end

local function permit_of(member)
  return string.match(member, '^%d+:(.*)$')
end

-- --- the gate: pauses, cold starts, probes ------------------------------------------------------

local gate = {}
local fields = redis.call('HGETALL', GATE)
for i = 1, #fields, 2 do
  gate[fields[i]] = fields[i + 1]
end

local function set_gate(name, value)
  gate[name] = value
  redis.call('HSET', GATE, name, value)
  redis.call('PEXPIRE', GATE, GATE_KEEP_MS)
end

local function unset_gate(...)
  for _, name in ipairs({...}) do
    gate[name] = nil
  end
  redis.call('HDEL', GATE, ...)
end

local function moment(name)
  return tonumber(gate[name] or 0)
end

-- Nothing goes before this moment.
local function closed_until()
  return moment('until_us')
end

-- Whether an answer must be seen before requests may follow each other again.
local function probing()
  return gate.probing == '1'
end

-- Lets nothing out before `until_us`, and then one request whose answer decides. A closing only
-- ever grows longer; one that ends sooner changes nothing but that a probe is needed.
local function close(until_us, kind, reason)
  if until_us > closed_until() then
    set_gate('until_us', int(until_us))
    set_gate('kind', kind)
    set_gate('reason', reason)
  end
  set_gate('probing', '1')
  unset_gate('probe', 'probe_until_us')
end

-- --- the logs -------------------------------------------------------------------------------------

-- Gives a booking back: it leaves no trace. Never call it for a confirmed permit: that was sent.
local function remove(member)
  local permit = permit_of(member)
  redis.call('ZREM', USERS, member)
  redis.call('ZREM', REQUESTS, permit)
  redis.call('ZREM', POSTS, permit)
  redis.call('ZREM', BOOKED, member)
  if gate.probe == permit then
    unset_gate('probe', 'probe_until_us')
  end
end

local function remove_all_booked()
  for _, member in ipairs(redis.call('ZRANGE', BOOKED, 0, -1)) do
    remove(member)
  end
end

-- Forgets what no window can see any more, and bookings more than a window late: their worker
-- died or was stopped. Without them a permit is late by one window at most, on which confirm's
-- moving of bookings rests. As confirm no longer finds them, they were surely not sent.
local function trim()
  local too_late = '(' .. int(NOW - USERS_WINDOW)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', BOOKED, '-inf', too_late)) do
    remove(member)
  end
  redis.call('ZREMRANGEBYSCORE', USERS, '-inf', too_late)
  local too_old = '(' .. int(NOW - REQUESTS_WINDOW)
  redis.call('ZREMRANGEBYSCORE', REQUESTS, '-inf', too_old)
  redis.call('ZREMRANGEBYSCORE', POSTS, '-inf', too_old)
end

-- The member and slot of a permit that is booked and not confirmed, or nil. Bookings reach only
-- seconds ahead, so there are few.
local function booking_of(permit)
  local booked = redis.call('ZRANGE', BOOKED, 0, -1, 'WITHSCORES')
  for i = 1, #booked, 2 do
    if permit_of(booked[i]) == permit then
      return booked[i], tonumber(booked[i + 1])
    end
  end
end

-- The first time at which `weight` fits behind the entries up to `upto` ('+inf': all, also the
-- bookings to come), not counting the entry `own`. 0: at any time.
-- Newest first: all entries younger than the one returned weigh at most budget - weight together,
-- so neither a window that ends at that time nor one that begins before it and ends later is
-- too full. At most budget - weight + 1 entries, each of at least 1, can be looked at (and `own`).
local function users_free_at(weight, budget, own, upto)
  if weight == 0 then
    return 0
  end
  local sum = weight
  local entries = redis.call('ZREVRANGEBYSCORE', USERS, upto, '-inf', 'WITHSCORES',
    'LIMIT', 0, int(budget - weight + 2))
  for i = 1, #entries, 2 do
    if entries[i] ~= own then
      sum = sum + weight_of(entries[i])
      if sum > budget then
        return tonumber(entries[i + 1]) + USERS_WINDOW + 1 + EXTRA
      end
    end
  end
  return 0
end

-- The same for one more entry in a log of requests: as each weighs 1, the entry that must leave
-- the window is known by its rank, whatever their number.
local function one_free_at(log, budget, own, upto)
  local rank = budget - 1
  if upto ~= '+inf' then
    rank = rank + redis.call('ZCOUNT', log, '(' .. upto, '+inf')
  end
  local own_rank = own and redis.call('ZREVRANK', log, own)
  if own_rank and own_rank <= rank then
    rank = rank + 1
  end
  local entry = redis.call('ZREVRANGE', log, int(rank), int(rank), 'WITHSCORES')
  return entry[2] and tonumber(entry[2]) + REQUESTS_WINDOW + 1 + EXTRA or 0
end

-- Requests a minute that the headers of answers leave to us, -1 while they tell nothing.
local function cap()
  return NOW < moment('cap_until_us') and tonumber(gate.cap) or -1
end

-- Requests a minute as far as they are ours: what was declared, or less where the headers of
-- answers told that others use the account too. Headers never allow more than was declared.
local function ours(declared)
  return cap() < 0 and declared or math.min(declared, cap())
end

-- Polls go before POSTs up to three tenths of the requests: so much is never given to a POST. Beyond
-- them they go before nobody, see reserve.lua. A budget of one has no part of their own: they take turns.
local function part_of_polls(budget)
  return budget > 1 and math.max(1, math.floor(budget * 3 / 10)) or 0
end

local function requests_free_at(users, requests, budget, own, upto)
  if requests == 0 then
    return 0
  end
  local free = one_free_at(REQUESTS, budget, own, upto)
  if users > 0 then
    free = math.max(free, one_free_at(POSTS, budget - part_of_polls(budget), own, upto))
  end
  return free
end

-- The first time at which a permit fits under all budgets, behind the entries up to `upto` ('+inf'
-- or a number); 0: at any time. Then what the users' budget alone says.
local function free_at(users, requests, users_budget, requests_budget, member, permit, upto)
  local users_free = users_free_at(users, users_budget, member, upto)
  local requests_free = requests_free_at(users, requests, ours(requests_budget), permit, upto)
  return math.max(users_free, requests_free), users_free
end

-- Every key lives until nobody can need it; an account that is no longer used leaves nothing.
local function keep()
  for _, log in ipairs({USERS, REQUESTS, POSTS, BOOKED}) do
    redis.call('PEXPIRE', log, KEEP_MS)
  end
  redis.call('PEXPIRE', GATE, GATE_KEEP_MS)
end

-- --- cold starts ------------------------------------------------------------------------------------

-- Another server than the one whose memory this is, or none, or one whose clock was set back: what
-- was sent lately is not known, so nothing goes for one window, then one probe. The minute of requests
-- stays closed until the headers of an answer tell what is left of it, or until it is over.
local function server_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or 'unknown'
end

-- Whether something lies so far ahead that nobody can have written it on this clock: it was set
-- back. What is nearer than that is waited for.
local function clock_was_set_back()
  local furthest = NOW + 2 * REQUESTS_WINDOW
  for _, log in ipairs({USERS, REQUESTS}) do
    local newest = redis.call('ZREVRANGE', log, 0, 0, 'WITHSCORES')
    if newest[2] and tonumber(newest[2]) > furthest then
      return true
    end
  end
  return closed_until() > NOW + LONGEST_PAUSE or moment('probe_until_us') > furthest + PROBE_US
    or math.max(moment('unknown_until_us'), moment('cap_at_us'), moment('cap_until_us')) > furthest
end

-- All that bears times of another clock tells nothing on this one.
local function forget_all()
  redis.call('DEL', USERS, REQUESTS, POSTS, BOOKED, TURN, FLOWS)
  unset_gate('until_us', 'probe_until_us', 'unknown_until_us', 'forgot_until_us')
end

local function wake()
  local server, set_back = server_id(), clock_was_set_back()
  if gate.server == server and not set_back then
    return 0
  end
  if set_back then
    forget_all()
  end
  -- What was to go by now may have gone: it stays in the logs. What was to come is void.
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', BOOKED, '(' .. int(NOW), '+inf')) do
    remove(member)
  end
  redis.call('DEL', BOOKED)
  set_gate('server', server)
  close(NOW + USERS_WINDOW + 1, 'cold', 'cold start')
  set_gate('unknown_until_us', int(NOW + REQUESTS_WINDOW + 1))
  set_gate('forgot_until_us', int(NOW + REQUESTS_WINDOW + 1))
  unset_gate('cap', 'cap_until_us')
  set_gate('cap_at_us', int(NOW))  -- answers to what was stamped before tell nothing any more
  return 1
end
