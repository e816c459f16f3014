-- The slot has come: stamps the permit with the time of sending, if the logs allow it now.
--
--   ARGV[6] users_budget, ARGV[7] requests_budget
--   ARGV[8] permit
--   ARGV[9] longest_retry_us, ARGV[10] lead_us: who was denied returns so long before his turn
--   ARGV[11] flow, ARGV[12] share, as for reserve
--
-- Returns {'go', stamp_us, late_us, probe, next_in_us, used, cap}   send now; probe: report the
--                                       answer; next_in: when the run's next permit is worth asking
--                                       for; used: requests of this minute; cap: as headers tell, or -1
--      or {'not_yet', wait_us}          confirm again then
--      or {'stale', why, cold}          the booking is gone; why: paused, cold, lost or budget
--
-- What is promised rests on one check: a stamp is given only when the closed window that ends
-- with it holds no more than the budget. See docs/limiter.md for the proof.

local users_budget, requests_budget = tonumber(ARGV[6]), tonumber(ARGV[7])
local permit = ARGV[8]
local longest_retry, lead = tonumber(ARGV[9]), tonumber(ARGV[10])
local flow, share = ARGV[11], tonumber(ARGV[12])

-- The bookings behind a late permit move by its lateness, in all logs, so that no two come
-- closer to each other than they were booked. Not their workers' fault: they hear `not_yet`.
local function move_behind(slot, lateness)
  local behind = redis.call('ZRANGEBYSCORE', BOOKED, '(' .. int(slot), '+inf', 'WITHSCORES')
  for i = 1, #behind, 2 do
    local moved = int(tonumber(behind[i + 1]) + lateness)
    redis.call('ZADD', USERS, 'XX', moved, behind[i])
    redis.call('ZADD', REQUESTS, 'XX', moved, permit_of(behind[i]))
    redis.call('ZADD', POSTS, 'XX', moved, permit_of(behind[i]))
    redis.call('ZADD', BOOKED, 'XX', moved, behind[i])
  end
end

local cold = wake()
trim()

local closed = NOW < closed_until()
local member, slot = booking_of(permit)
if not member then
  return {'stale', closed and gate.kind or 'lost', cold}
end
local users = weight_of(member)
local requests = redis.call('ZSCORE', REQUESTS, permit) and 1 or 0

if closed or users > users_budget then
  remove(member)
  return {'stale', closed and gate.kind or 'budget', cold}
end
if NOW < slot then
  return {'not_yet', slot - NOW}
end

-- Whether the permit fits now beside all that shares a window with it, whatever is booked.
local function fits_beside_all()
  local users_free = users_free_at(users, users_budget, member, int(NOW + USERS_WINDOW))
  return math.max(users_free,
    requests_free_at(users, requests, ours(requests_budget), permit, '+inf')) <= NOW
end

-- Where it fits, being late takes nothing from anybody. Else room is made: those behind step back,
-- and it goes as soon as those before it allow. That is now, unless a budget was lowered since; if
-- then it cannot go for two windows, it is given back: its worker waits without holding anything.
local stamp = NOW
if not fits_beside_all() then
  local free = free_at(users, requests, users_budget, requests_budget, member, permit, int(NOW))
  stamp = math.max(NOW, free)
  if stamp - slot > 2 * USERS_WINDOW then
    remove(member)
    return {'stale', 'budget', cold}
  end
  move_behind(slot, stamp - slot)
end

redis.call('ZADD', USERS, 'XX', int(stamp), member)
redis.call('ZADD', REQUESTS, 'XX', int(stamp), permit)
redis.call('ZADD', POSTS, 'XX', int(stamp), permit)
if stamp > NOW then
  redis.call('ZADD', BOOKED, 'XX', int(stamp), member)
  keep()
  return {'not_yet', stamp - NOW}
end
redis.call('ZREM', BOOKED, member)
keep()

local is_probe = probing() and gate.probe == permit
if is_probe then
  set_gate('probe_until_us', int(stamp + PROBE_US))
end

-- The run's next permit, asked for at once, would likely be denied and sent away. So it is told its
-- turn here, where it costs no call of its own.
local next_in = 0
if users > 0 and flow ~= '' then
  load_flows(flow, share, math.max(USERS_WINDOW * users / users_budget,
    REQUESTS_WINDOW * requests / ours(requests_budget)))
  local free = free_at(users, requests, users_budget, requests_budget, nil, nil, '+inf')
  free = math.max(NOW, free)
  next_in = math.max(0, next_turn_of(flow, free, longest_retry, lead) - NOW - lead)
end
-- With these its worker knows whether the headers of the answer tell anything new (observe.lua).
local used = redis.call('ZCOUNT', REQUESTS, '-inf', int(stamp))
return {'go', stamp, stamp - slot, is_probe and 1 or 0, next_in, used, cap()}
