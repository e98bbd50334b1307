#!lua flags=no-writes
-- Every guard's answer on an intent. Writes nothing. Called with EVALSHA_RO.
--
-- KEYS, ARGV   as in evaluate.lua
--
-- Reply  {now, policy, row, row, …}: the server's clock in ms as text; the fingerprint of the policy in force or ``; a
--        row {REASON, wait, detail}, as in evaluate's reply, for each guard that denies, in the order of the guards.
--        A guard without a row passes, or doesn't judge this exit
--        or an error that names the key, where evaluate gives one
--@include integer
--@include figure_numbers
--@include read
--@include switched_on
--@include window_wait
--@include time_left
--@include figure_of
--@include figures_in_force
--@include in_flight_packed
--@include memory
--@include in_flight
--@include guards
--@include server_now

local now, now_text = server_now()
local state = redis.pcall('HMGET', KEYS.state, 'policy')
local rows, seen = {now_text, state[1] or ''}, {}
if ARGV.is_exit == '1' then take_figures_in_force(seen) end
local reason, wait, detail, place = first_denial(1, now, now_text, seen)
while reason do
  rows[#rows + 1] = {reason, wait, detail}
  reason, wait, detail, place = first_denial(place + 1, now, now_text, seen)
end
if #rows == 2 then
  -- Every guard passes. evaluate now reads the memory, also for an exit; damage there ends inspect with the same error.
  local _, _, _, _, _, dedup_ttl, max_age = figure_numbers()
  memory(now, seen, dedup_ttl, max_age)
end
return rows
