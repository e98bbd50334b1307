#!lua flags=no-writes
-- Every guard's answer on an intent. Writes nothing. Called with EVALSHA_RO.
--
-- KEYS, ARGV   as in evaluate.lua
--
-- Reply  {now, policy, row, row, …}: the server's clock in ms as text; the fingerprint of the policy in force or ``; a
--        row {REASON, wait, detail}, as in evaluate's reply, for each guard that denies, in the order of the guards.
--        A guard without a row passes, or doesn't judge this exit
--        or an error that names the key, where evaluate gives one
--@include asked
local from, reason, wait, detail, place = 1, nil, nil, nil, nil
--@include claimed
--@include integer
--@include read
--@include halted
--@include question

-- Where the state is damaged, the guards that read it say so.
local rows = {integer(now), in_force or redis.pcall('HGET', KEYS.state, 'policy') or ''}
if type(rows[2]) == 'table' then rows[2] = '' end
-- A verdict notices a record, or a set, of the wrong type when it writes it.
if not reason then read('GET', KEYS.record) end
if not is_exit then read('ZCARD', KEYS.inflight) end
if reason then
  rows[#rows + 1] = {reason, wait, detail}
  from = place + 1
end
repeat
  reason = nil
  repeat
    --@include guards
  until true
  if reason then
    rows[#rows + 1] = {reason, wait, detail}
    from = place + 1
  end
until not reason
return rows
