-- Stops the account until a time, and voids what is booked: confirm answers `stale` to all of it.
-- A pause only ever grows longer; a shorter one that comes later changes nothing but voids, too.
--
--   ARGV[4] pause_us
--   ARGV[5] reason, for people
--
-- Returns the microseconds until the pause ends.

local pause_end = NOW + tonumber(ARGV[4])
if pause_end > paused_until() then
  redis.call('HSET', PAUSE, 'until_us', int(pause_end), 'reason', ARGV[5])
  redis.call('PEXPIRE', PAUSE, int(ARGV[4] / 1000 + KEEP_MS))
end
for _, member in ipairs(redis.call('ZRANGE', BOOKED, 0, -1)) do
  remove(member)
end
return paused_until() - NOW
