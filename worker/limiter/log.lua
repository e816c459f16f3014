-- What every script of the limiter begins with: the clock, the keys, the two logs.
-- This text stands in front of each script, so that they are sent to Redis as one.
--
-- An account has two logs of what was and will be sent: ZSETs whose scores are slots, integer
-- microseconds of Redis' own clock. A client's clock is never used: clocks of workers differ.
--
--   KEYS[1] users     ZSET "<weight>:<permit>" -> slot   weight = users in the request
--   KEYS[2] requests  ZSET "<permit>"          -> slot   each weighs 1
--   KEYS[3] booked    ZSET "<weight>:<permit>" -> slot   permits not yet confirmed
--   KEYS[4] pause     HASH until_us, reason
--   KEYS[5] turn      HASH why -> us             when the next caller denied for `why` may return
--
--   ARGV[1] users_window_us, ARGV[2] requests_window_us: each with the guard in it
--   ARGV[3] keep_ms: lifetime of the keys after the last write
--
-- Windows are closed: an entry exactly one window old still counts. So the first slot that no
-- longer sees an entry is: entry + window + 1 us.

local USERS, REQUESTS, BOOKED, PAUSE, TURN = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local USERS_WINDOW, REQUESTS_WINDOW, KEEP_MS = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]

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

-- Gives a booking back: it leaves no trace. Never call it for a confirmed permit: that was sent.
local function remove(member)
  redis.call('ZREM', USERS, member)
  redis.call('ZREM', REQUESTS, permit_of(member))
  redis.call('ZREM', BOOKED, member)
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
  redis.call('ZREMRANGEBYSCORE', REQUESTS, '-inf', '(' .. int(NOW - REQUESTS_WINDOW))
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

local function paused_until()
  return tonumber(redis.call('HGET', PAUSE, 'until_us') or 0)
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
        return tonumber(entries[i + 1]) + USERS_WINDOW + 1
      end
    end
  end
  return 0
end

-- The same for requests: as each weighs 1, the entry that must leave the window is known by its
-- rank, whatever their number.
local function requests_free_at(weight, budget, own, upto)
  if weight == 0 then
    return 0
  end
  local rank = budget - 1
  if upto ~= '+inf' then
    rank = rank + redis.call('ZCOUNT', REQUESTS, '(' .. upto, '+inf')
  end
  local own_rank = own and redis.call('ZREVRANK', REQUESTS, own)
  if own_rank and own_rank <= rank then
    rank = rank + 1
  end
  local entry = redis.call('ZREVRANGE', REQUESTS, int(rank), int(rank), 'WITHSCORES')
  return entry[2] and tonumber(entry[2]) + REQUESTS_WINDOW + 1 or 0
end

-- Every key lives until nobody can need it; an account that is no longer used leaves nothing.
local function keep()
  redis.call('PEXPIRE', USERS, KEEP_MS)
  redis.call('PEXPIRE', REQUESTS, KEEP_MS)
  redis.call('PEXPIRE', BOOKED, KEEP_MS)
end
