#!lua flags=no-writes
-- What every guard says now about an intent, and no writes. Called by EVALSHA_RO.
--
-- KEYS, ARGV   as in evaluate.lua
--
-- Reply  {now, policy, row, row, …}: the server's clock in ms as text, the fingerprint of the policy in force or ``, a
--        row for each guard that denies, in the order of the guards: {REASON, wait, detail}, each as evaluate would
--        give it. No row: that guard passes, or the intent is an exit and exempt from it.
--        or an error that names the key, where evaluate would give one
--@include integer
--@include read
--@include switched_on
--@include window_wait
--@include time_left
--@include guards
--@include fence_and_memory
--@include reserved_ahead
--@include server_now

local now, now_text, micros = server_now()
local state = redis.pcall('HMGET', KEYS.state, 'policy')
local rows, seen = {now_text, state[1] or ''}, {}
local reason, wait, detail, place = first_denial(1, now, now_text, seen)
while reason do
  rows[#rows + 1] = {reason, wait, detail}
  reason, wait, detail, place = first_denial(place + 1, now, now_text, seen)
end
if #rows == 2 then
  -- Every guard passes: so must what evaluate would read besides. Damage there ends both with the same error.
  fence_and_memory(now, micros, seen)
  reserved_ahead(seen)
end
return rows
