-- Books a slot under all budgets, or under none.
--
--   ARGV[6] users_budget, ARGV[7] requests_budget
--   ARGV[8] permit, ARGV[9] users (its weight), ARGV[10] requests (0 or 1)
--   ARGV[11] max_wait_us: a slot further away is not booked
--   ARGV[12] longest_retry_us
--   ARGV[13] flow: the run that asks, '' for none; ARGV[14] share: its weight among runs
--   ARGV[15] lead_us: who was denied for a budget returns so long before his turn
--
-- Returns {'booked', wait_us, slot_us, cold}
--      or {'denied', turn_in_us, why, cold}   why: paused, cold, probe, users, requests or share
--      or {'used'}                            this permit was sent under; it cannot be had twice
-- cold is 1 when this call found the server's memory gone.

local users_budget, requests_budget = tonumber(ARGV[6]), tonumber(ARGV[7])
local permit, users, requests = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local max_wait, longest_retry = tonumber(ARGV[11]), tonumber(ARGV[12])
local flow, share, lead = ARGV[13], tonumber(ARGV[14]), tonumber(ARGV[15])
local member = ARGV[9] .. ':' .. permit

-- Callers that are denied at the same time are told different times to return, one step apart:
-- the time that a permit like theirs uses up. See next_turn_of, which does this within a run.
local function next_turn(why, slot, step)
  local turn = math.max(slot, tonumber(redis.call('HGET', TURN, why) or 0))
  if turn - NOW <= longest_retry then
    redis.call('HSET', TURN, why, int(turn + step))
    redis.call('PEXPIRE', TURN, int((longest_retry + step) / 1000))
  end
  return turn
end

-- Polls beyond their part and POSTs take turns: of either that was denied for requests one is awaited
-- until it comes, or does not. For a POST an extra poll leaves room; where a minute has one request
-- only, whoever had the last one steps back.
local kind, other = 'poll', 'post'
if users > 0 then
  kind, other = other, kind
end

local function turn_of_the_other(free)
  local awaited = requests > 0 and tonumber(redis.call('HGET', TURN, other) or 0) or 0
  if awaited < NOW then
    return free
  end
  local budget = ours(requests_budget)
  if budget == 1 then
    return gate.last == kind and math.max(free, awaited + 1) or free
  end
  local polls = redis.call('ZCARD', REQUESTS) - redis.call('ZCARD', POSTS)
  if users > 0 or polls < part_of_polls(budget) then
    return free
  end
  return math.max(free, one_free_at(REQUESTS, budget - 1, nil, '+inf'))
end

local function await(slot)
  local latest = math.min(slot, NOW + longest_retry) + USERS_WINDOW
  redis.call('HSET', TURN, kind, int(math.max(latest, tonumber(redis.call('HGET', TURN, kind) or 0))))
  redis.call('PEXPIRE', TURN, int((longest_retry + USERS_WINDOW) / 1000))
end

local cold = wake()
trim()
EXTRA = tonumber(ARGV[5])

-- The same question again, its answer having been lost on the way: the same answer.
local held, slot_held = booking_of(permit)
if held == member then
  return {'booked', math.max(0, slot_held - NOW), slot_held, cold}
end
if held or redis.call('ZSCORE', USERS, member) or redis.call('ZSCORE', REQUESTS, permit) then
  return {'used'}
end

local users_step = USERS_WINDOW * users / users_budget
local requests_step = REQUESTS_WINDOW * requests / ours(requests_budget)
local step = math.max(users_step, requests_step)
local fair = users > 0 and flow ~= ''
if fair then
  load_flows(flow, share, step)
  redeem(flow, max_wait)
end

local function denied(turn, why)
  return {'denied', turn - NOW, why, cold}
end

-- One request is out whose answer decides: everybody else waits for it.
if probing() and gate.probe and NOW <= moment('probe_until_us') then
  local after = math.max(NOW, closed_until()) + USERS_WINDOW / 2
  return denied(next_turn('probe', after, step), 'probe')
end

local free, users_free = free_at(users, requests, users_budget, requests_budget, nil, nil, '+inf')
if requests > 0 and not probing() then
  free = math.max(turn_of_the_other(free), moment('unknown_until_us'))
end
local closed = closed_until()
local slot = math.max(NOW, closed, free)

if slot - NOW > max_wait then
  if slot == closed then
    return denied(next_turn('paused', slot, step), gate.kind)
  end
  local why = slot == users_free and 'users' or 'requests'
  if why == 'requests' then
    await(slot)
  end
  if fair then
    return denied(next_turn_of(flow, slot, longest_retry, lead), why)
  end
  return denied(next_turn(why, slot, why == 'users' and users_step or requests_step), why)
end

if fair then
  if slot - NOW > PINCH and not is_next(flow) then
    note(flow, slot)
    return denied(slot - PINCH, 'share')
  end
  serve(flow, slot)
end

if users > 0 then
  redis.call('ZADD', USERS, int(slot), member)
end
if requests > 0 then
  redis.call('ZADD', REQUESTS, int(slot), permit)
  if users > 0 then
    redis.call('ZADD', POSTS, int(slot), permit)
  end
  redis.call('HDEL', TURN, kind)
  if ours(requests_budget) == 1 then
    set_gate('last', kind)
  end
end
redis.call('ZADD', BOOKED, int(slot), member)
if probing() then
  set_gate('probe', permit)
  set_gate('probe_until_us', int(slot + PROBE_US))
end
keep()
return {'booked', slot - NOW, slot, cold}
