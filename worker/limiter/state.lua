-- What an account uses at this moment, for people. Writes nothing.
--
-- Returns {users, requests, bookings, booked_users, pause_left_us, reason}: users and requests of
-- the windows that end now (the guard in them), then what is booked and not confirmed.

local function weight(members)
  local sum = 0
  for _, member in ipairs(members) do
    sum = sum + weight_of(member)
  end
  return sum
end

local users_since = int(NOW - USERS_WINDOW)
local users = redis.call('ZRANGEBYSCORE', USERS, users_since, int(NOW))
local requests = redis.call('ZCOUNT', REQUESTS, int(NOW - REQUESTS_WINDOW), int(NOW))
local booked = redis.call('ZRANGEBYSCORE', BOOKED, users_since, '+inf')
local pause_left = math.max(0, paused_until() - NOW)
local reason = pause_left > 0 and redis.call('HGET', PAUSE, 'reason') or ''

return {weight(users), requests, #booked, weight(booked), pause_left, reason}
