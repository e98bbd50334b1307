-- What is asked, when, and which figures decide? The first part of evaluate and inspect: it declares what the guards and
-- their caller share. Local variables cost a call nothing; a table or a function that held them would be made anew by every
-- call.
-- Needs what asked.lua reads and claimed.lua finds; ARGV.asked
--
-- The server's clock, asked once, as server_now does: seconds, and microseconds of the second. In whole ms; most that is
-- denied needs no text of it.
local time = redis.call('TIME')
local micros = time[2] + 0
local now = time[1] * 1000 + (micros - micros % 1000) / 1000
local permit_field = 'permit:' .. intent_id

-- The policy in force: the one that a person has applied, else the one that the first admission has left in the state.
local in_force = applied and string.match(applied, '^[^\n]*')

-- Of the state: fence, since, copy of an earlier permit, run id, time of a loss, permits in flight, policy.
local state

-- What every verdict counts with. It comes packed, in place of eleven arguments: the intent's time, the highest fence that
-- the caller has seen, and of the policy rate_symbol_limit, rate_symbol_window_ms, rate_global_limit,
-- rate_global_window_ms, lock_ttl_ms, dedup_ttl_ms, max_age_ms, skew_ms, max_in_flight.
local decided, fence_seen, symbol_limit, symbol_window, global_limit, global_window, lock_ttl, dedup_ttl, max_age, skew,
  max_in_flight, numbers_end = struct.unpack('>ddddddddddd', ARGV.asked, texts_end)
local dedup_ttl_text  -- of another policy in force, for an exit; see written.lua
if is_exit then
  --@include figure_of
  --@include figures_in_force
end

-- What the guards find out. `memory` tells of these: the last fence given, when the memory became whole, when its loss
-- was noticed, why it is new from this call on, under which server, and whether it is never whole, or damaged.
local last_fence, since, lost, new_memory, run_id, untrusted, damaged
-- And of these in_flight_packed tells.
local card, live, reserved, counted, earliest, last, lapses
-- The entry that makes the account's window full while it is young enough.
local global_entry
