-- Gives a booking back that will not be used. A confirmed permit stays: it was sent.
--
--   ARGV[6] permit
--
-- Returns 1 if it was booked, 0 if there was nothing to give back.

local member = booking_of(ARGV[6])
if not member then
  return 0
end
remove(member)
return 1
