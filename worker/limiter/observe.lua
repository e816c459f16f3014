-- Takes note of an answer: whether a probe was answered, and what the headers tell of the minute.
--
--   ARGV[6] permit under which the request was sent
--   ARGV[7] answered: 1 if Zendesk answered (and not with a rate limit), else 0
--   ARGV[8] limit, ARGV[9] remaining: requests of the account, all clients together; -1: not told
--   ARGV[10] reset_us until there are more; -1: not told
--   ARGV[11] reserve_percent of the limit that is left to others
--   ARGV[12] least_us, ARGV[13] usual_us: how long to rest when nothing is left for us
--
--   ARGV[14] declared: our own budget of requests a minute
--
-- Returns {left, rest_us, cold}: our requests a minute as far as others allow (-1: not told), and how
-- long the account now rests because the headers said that nothing is left for us (0: it does not).

local permit = ARGV[6]
local limit, remaining, reset = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])

local cold = wake()
trim()

local stamp = tonumber(redis.call('ZSCORE', REQUESTS, permit) or nil)

if gate.probe == permit then
  unset_gate('probe', 'probe_until_us')
  if ARGV[7] == '1' then
    unset_gate('probing')
  end
end

-- What an older request was told is no longer so, and what one sent before a cold start was told
-- cannot be compared with a log that has forgotten it. In the minute after a cold start a remainder
-- without its limit tells nothing.
local forgetful = NOW < moment('forgot_until_us')
if remaining < 0 or not stamp or stamp < moment('cap_at_us') or (forgetful and limit < 0) then
  return {-1, 0, cold}
end

-- Whatever of the limit is neither left nor in our log is used by others. Requests sent after this
-- one are not in what it was told, but they are in our log: so they count against the cap.
local own = redis.call('ZCOUNT', REQUESTS, '-inf', int(stamp))
local allowed = remaining - math.ceil(math.max(limit, 0) * tonumber(ARGV[11]) / 100)
local left = own + allowed
local period = reset < 0 and REQUESTS_WINDOW or math.min(reset, REQUESTS_WINDOW)
local ends = NOW + math.max(period, 1)
local rest = 0
if allowed <= 0 then
  rest = math.max(tonumber(ARGV[12]), reset < 0 and math.min(period, tonumber(ARGV[13])) or period)
  ends = NOW + rest
end

-- After a cold start all that was used may have been ours: as much less is left of our own budget.
-- If that is nothing, requests stay closed until the forgotten minute is over.
if forgetful then
  left = math.min(left, tonumber(ARGV[14]) - math.max(0, limit - remaining - own))
  ends = math.max(ends, moment('forgot_until_us'))
end
if not forgetful or left > own then
  unset_gate('unknown_until_us')
end
left = math.max(1, left)
set_gate('cap', int(left))
set_gate('cap_at_us', int(stamp))
set_gate('cap_until_us', int(ends))
if rest > 0 then
  close(NOW + rest, 'paused', 'the requests of this minute are used up')
  remove_all_booked()
end
return {left, rest, cold}
