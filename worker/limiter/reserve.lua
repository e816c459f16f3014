-- Books a slot under both budgets, or under none.
--
--   ARGV[4] users_budget, ARGV[5] requests_budget
--   ARGV[6] permit, ARGV[7] users (its weight), ARGV[8] requests (0 or 1)
--   ARGV[9] max_wait_us: a slot further away is not booked
--   ARGV[10] longest_retry_us
--
-- Returns {'booked', wait_us, slot_us}
--      or {'denied', turn_in_us, why}    why: 'paused', 'users' or 'requests'
--      or {'used'}                       this permit was sent under; it cannot be had twice

local users_budget, requests_budget = tonumber(ARGV[4]), tonumber(ARGV[5])
local permit, users, requests = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local max_wait, longest_retry = tonumber(ARGV[9]), tonumber(ARGV[10])
local member = ARGV[7] .. ':' .. permit

-- Callers that are denied at the same time are told different times to return, one step apart:
-- the time that a permit like theirs uses up. A turn is advice only; who comes and finds room
-- books. A turn beyond the longest retry is not handed out, as its caller asks again before:
-- so the cursor cannot run away, however long the pause and however many the callers.
local function next_turn(why, slot, step)
  local turn = math.max(slot, tonumber(redis.call('HGET', TURN, why) or 0))
  if turn - NOW <= longest_retry then
    redis.call('HSET', TURN, why, int(turn + step))
    redis.call('PEXPIRE', TURN, int((longest_retry + step) / 1000))
  end
  return turn
end

trim()

-- The same question again, its answer having been lost on the way: the same answer.
local held, slot_held = booking_of(permit)
if held == member then
  return {'booked', math.max(0, slot_held - NOW), slot_held}
end
if held or redis.call('ZSCORE', USERS, member) or redis.call('ZSCORE', REQUESTS, permit) then
  return {'used'}
end

local pause_end = paused_until()
local users_free = users_free_at(users, users_budget, nil, '+inf')
local requests_free = requests_free_at(requests, requests_budget, nil, '+inf')
local slot = math.max(NOW, pause_end, users_free, requests_free)

if slot - NOW <= max_wait then
  if users > 0 then
    redis.call('ZADD', USERS, int(slot), member)
  end
  if requests > 0 then
    redis.call('ZADD', REQUESTS, int(slot), permit)
  end
  redis.call('ZADD', BOOKED, int(slot), member)
  keep()
  return {'booked', slot - NOW, slot}
end

local users_step = USERS_WINDOW * users / users_budget
local requests_step = REQUESTS_WINDOW * requests / requests_budget
if slot == pause_end then
  return {'denied', next_turn('paused', slot, math.max(users_step, requests_step)) - NOW, 'paused'}
end
if slot == users_free then
  return {'denied', next_turn('users', slot, users_step) - NOW, 'users'}
end
return {'denied', next_turn('requests', slot, requests_step) - NOW, 'requests'}
