-- What an account uses at this moment, for people. Writes nothing.
--
-- Returns {users, requests, bookings, booked_users, closed_us, reason, gate, cap}: users and requests
-- of the windows that end now (the guard in them), then what is booked and not confirmed, how long
-- nothing may go and why, what the gate does (open, paused, cold or probe), and our requests a minute
-- as far as headers tell (-1: they tell nothing).

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
local left = math.max(0, closed_until() - NOW)
local kind = left > 0 and gate.kind or (probing() and 'probe' or 'open')
if gate.server and (gate.server ~= server_id() or clock_was_set_back()) then
  kind = 'cold'  -- whoever asks for a permit next will notice
end

return {weight(users), requests, #booked, weight(booked), left, left > 0 and gate.reason or '', kind, cap()}
