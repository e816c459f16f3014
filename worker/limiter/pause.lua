-- Stops the account until a time, and voids what is booked: confirm answers `stale` to all of it.
-- A pause only ever grows longer; a shorter one that comes later changes nothing but voids, too.
-- After it one request goes as a probe, and the others when its answer was seen (observe.lua).
--
--   ARGV[6] pause_us
--   ARGV[7] reason, for people
--
-- Returns {microseconds until the pause ends, cold}.

local cold = wake()
close(NOW + tonumber(ARGV[6]), 'paused', ARGV[7])
remove_all_booked()
return {math.max(0, closed_until() - NOW), cold}
