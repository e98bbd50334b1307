-- Is this intent claimed already? The first two guards, and the first question of a verdict: one intent gets one order. A record
-- that the gate didn't write (the replaced system wrote `1`) is a duplicate too. It comes before all functions and the clock:
-- most that is denied is denied here.
-- Sets reason, wait, detail and place as guards.lua does.
--
-- One MGET reads what holds a text. It says nothing of a key of another type: of an entry's keys, guards.lua asks whether
-- there is one; an exit's record is written with NX. So none of them is ever taken for missing.
-- Needs what asked.lua reads; KEYS.record, applied, lock
local known
if is_exit then
  known = redis.pcall('MGET', KEYS.record, KEYS.applied)
  if known.err then known = {redis.call('GET', KEYS.record)} end  -- the right to MGET is newer than that to GET
else
  known = redis.call('MGET', KEYS.record, KEYS.applied, KEYS.lock)
end
local record, applied, held = known[1], known[2], known[3]
if record then
  local claimed_by = string.match(record, '^%l+ %S+ %d+ (%S+) ')
  -- A placed record has kept the beginning of its fingerprint.
  if claimed_by and claimed_by ~= string.sub(fingerprint, 1, #claimed_by) then
    reason, wait, detail, place = 'CONFLICT', '-2', record, GUARDS.CONFLICT
  else
    reason, wait, detail, place = 'DUPLICATE', '-2', record, GUARDS.DUPLICATE
  end
end
