-- The slot has come: stamps the permit with the time of sending, if the logs allow it now.
--
--   ARGV[4] users_budget, ARGV[5] requests_budget
--   ARGV[6] permit
--
-- Returns {'go', stamp_us, late_us}    send now
--      or {'not_yet', wait_us}         confirm again then
--      or {'stale', why}               the booking is gone; why: 'paused', 'lost' or 'budget'
--
-- What is promised rests on one check: a stamp is given only when the closed window that ends
-- with it holds no more than the budget. See docs/limiter.md for the proof.

local users_budget, requests_budget = tonumber(ARGV[4]), tonumber(ARGV[5])
local permit = ARGV[6]

-- The bookings behind a late permit move by its lateness, in all logs, so that no two come
-- closer to each other than they were booked. Not their workers' fault: they hear `not_yet`.
local function move_behind(slot, lateness)
  local behind = redis.call('ZRANGEBYSCORE', BOOKED, '(' .. int(slot), '+inf', 'WITHSCORES')
  for i = 1, #behind, 2 do
    local moved = int(tonumber(behind[i + 1]) + lateness)
    redis.call('ZADD', USERS, 'XX', moved, behind[i])
    redis.call('ZADD', REQUESTS, 'XX', moved, permit_of(behind[i]))
    redis.call('ZADD', BOOKED, 'XX', moved, behind[i])
  end
end

trim()

local paused = NOW < paused_until()
local member, slot = booking_of(permit)
if not member then
  return {'stale', paused and 'paused' or 'lost'}
end
local users = weight_of(member)
local requests = redis.call('ZSCORE', REQUESTS, permit) and 1 or 0

if paused or users > users_budget then
  remove(member)
  return {'stale', paused and 'paused' or 'budget'}
end
if NOW < slot then
  return {'not_yet', slot - NOW}
end

local function free_at(upto)
  return math.max(users_free_at(users, users_budget, member, upto),
    requests_free_at(requests, requests_budget, permit, upto))
end

-- Where there is room for it among everything from one window ago on, whatever is booked, being
-- late takes nothing from anybody. Else room is made: those behind step back, and it goes as
-- soon as those before it allow. That is now, unless a budget was lowered since the booking.
local stamp = NOW
if free_at('+inf') > NOW then
  stamp = math.max(NOW, free_at(int(NOW)))
  move_behind(slot, stamp - slot)
end

redis.call('ZADD', USERS, 'XX', int(stamp), member)
redis.call('ZADD', REQUESTS, 'XX', int(stamp), permit)
if stamp > NOW then
  redis.call('ZADD', BOOKED, 'XX', int(stamp), member)
  keep()
  return {'not_yet', stamp - NOW}
end
redis.call('ZREM', BOOKED, member)
keep()
return {'go', stamp, stamp - slot}
