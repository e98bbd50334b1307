#!lua flags=allow-oom
-- Writes the outcome of an admitted intent. It can be repeated: the same outcome with the same token changes nothing.
-- Once the token fits the record, a damaged lock, window, switch or counter doesn't stop the rest, because the outcome
-- of an order matters more. The damaged key stays as it is.
--
-- A permit whose worker died can be in doubt for longer than its record lives. When the record has lapsed, its copy in
-- the state replaces it, and settle writes the record again. When the copy is missing too, the store has lost memory:
-- settle writes the record of an order that exists, or may exist, from the admission that its holder sends along. The
-- memory is new from then on. An exit that its caller has sent without the store never had a record: it gets one, and
-- the memory is as whole as it was.
--
-- KEYS   1 record            P:exec:processed:{intent_id}       string  these sixteen are evaluate's
--        2 lock              P:exec:lock:{symbol}:{side}        string
--        3 rate_symbol       P:exec:rate:symbol:{symbol}        list
--        4 cooldown_symbol   P:safety:cooldown_symbol:{symbol}  string
--        5 rate_global       P:exec:rate:global                 list
--        6 failures          P:exec:failures                    list
--        7 inflight          P:exec:inflight                    zset    of entries, and of exits from earlier versions
--        8 state             P:exec:state                       hash
--        9 halt              P:safety:halt                      hash
--       10 safe_mode         P:safety:safe_mode                 string
--       11 cooldown_global   P:safety:cooldown_global           string
--       12 audit             P:safety:audit                     stream
--       13 reasons           P:safety:reasons                   hash
--       14 applied           P:safety:policy                    string
--       15 journal           P:exec:audit                       stream
--       16 trip              P:exec:trip                        string
--       17 exits             P:exec:inflight:exits              zset    as inflight, of exits
--       18 placed            P:exec:placed                      list    the entries that were placed last; see note_placed
--
-- ARGV   1 intent_id
--        2 token
--        3 outcome           placed, rejected, unsent, unknown
--        4 retryable         1 removes the record, so the intent can be admitted again; 0 keeps it
--        5 note              the order id of a placed order, else a code, a space and a detail
--   the penalty, 0 where there is none:
--        6 counts_failure    1 or 0
--        7 rest_symbol_ms    cooldown of the symbol
--        8 rest_global_ms    cooldown of the account
--        9 trips_safe_mode   1 or 0
--   figures of the caller's policy, by the names of its fields; those in force go first:
--       10 failure_limit
--       11 failure_window_ms
--       12 safe_mode_ttl_ms
--       13 dedup_ttl_ms
--   and
--       14 penalty_reason    the reason that the switches show; `` means the outcome's code
--       15 admission         the record as the admission wrote it; `` if the caller doesn't have it. Of an exit that
--                            was sent without the store, what the caller writes in its place, with the flag s
--
-- Reply  SETTLED found record        done. found: what this call has found out, joined by commas, else -: safe_mode,
--                                    the penalty has switched it on; memory, the store had lost the record; late, the
--                                    order had been settled as absent. record: left out when it was removed
--        ALREADY record              the same token has reported the same outcome before
--        CONFLICT record             the record has another outcome, which is final
--        FENCED record               another token owns the record. record: left out when neither it nor its copy
--                                    exists, and no order must be remembered
--        or an error that names the key: the record can't be read
--@include integer
--@include read
--@include record_fields
--@include record_text
--@include server_now
--@include figure_of
--@include in_flight_packed
--@include placed_kept
--@include audit
--@include noted_in
--@include switch_on
--@include trip

local now, now_text = server_now()
local text = read('GET', KEYS.record)
local permit_field = 'permit:' .. ARGV.intent_id
local state = redis.pcall('HMGET', KEYS.state, permit_field, 'fence', 'in_flight')
local copy, last_fence, in_flight = state[1] or '', tonumber(state[2] or ''), state[3]
local outcome, retryable, code = ARGV.outcome, ARGV.retryable == '1', string.match(ARGV.note, '^%S*')

-- The policy in force decides. The caller's own figures count only where the state doesn't hold them. Most settlements
-- need none, and to look for four of them takes a third of a settlement's time.
local figures, failure_limit, failure_window, safe_mode_ttl, dedup_ttl
if not text or ARGV.counts_failure == '1' or ARGV.trips_safe_mode == '1' then
  local applied = redis.pcall('GET', KEYS.applied)
  figures = type(applied) == 'string' and string.match(applied, '\n( [^\n]*)')
    or redis.pcall('HGET', KEYS.state, 'figures')
  if type(figures) ~= 'string' then figures = nil end
  failure_limit = figure_of(figures, 'failure_limit') or ARGV.failure_limit
  failure_window = figure_of(figures, 'failure_window_ms') or ARGV.failure_window_ms
  safe_mode_ttl = figure_of(figures, 'safe_mode_ttl_ms') or ARGV.safe_mode_ttl_ms
  -- Where none is in force yet, an exit's record lives for a day; evaluate tells why.
  dedup_ttl = figure_of(figures, 'dedup_ttl_ms') or integer(math.max(ARGV.dedup_ttl_ms, 86400000))
end

-- What is settled, by the record, its copy in the state, and the admission that the caller sends along:
--   a record                                  the record
--   none, but a copy                          the copy: the record has lapsed
--   neither: an exit without the store        the admission, of which this writes the first record
--   neither: a record would still be there    the admission: the store has lost memory (`forgotten`)
--   neither: a record would have lapsed       the admission, if an order was placed; else it is FENCED
local lapsed = not text
local unrecorded = lapsed and not record_fields(copy)
local forgotten, without_store = false, nil
if unrecorded then
  -- What was certainly refused, or not sent, needs no memory. An absence needs it: its order may show up.
  local may_exist = outcome == 'placed' or outcome == 'unknown' or code == 'NOT_PLACED'
  local phase, _, _, _, admitted, _, _, _, _, its_flags = record_fields(ARGV.admission)
  without_store = phase and string.find(its_flags, 's', 1, true)
  if not (may_exist or without_store) or (phase ~= 'admitted' and phase ~= 'unknown') then return 'FENCED' end
  -- A record that has lived its time is no loss, and an order that came of it is still written down.
  forgotten = not without_store and now - admitted - dedup_ttl < 0
  if not (forgotten or without_store) and outcome ~= 'placed' then return 'FENCED' end
  text = ARGV.admission
elseif lapsed then
  text = copy
end
local phase, token, fence, fingerprint, admitted, symbol, side, span, reserved, flags, note = record_fields(text)
-- A placed record has kept the beginning of its token.
local mine = phase == 'placed' and string.sub(ARGV.token, 1, #token) or ARGV.token
if token ~= mine then return 'FENCED' .. (unrecorded and '' or ' ' .. text) end
if unrecorded then phase = 'admitted' end

-- A settled record accepts no other outcome, but for one: an order that shows up after its absence was settled. One in
-- doubt may still become placed or rejected.
local shows_up_late = outcome == 'placed' and phase == 'rejected' and string.match(note, '^%S*') == 'NOT_PLACED'
if phase ~= 'admitted' and not shows_up_late then
  local settled_as = phase == 'rejected' and string.find(flags, 'u', 1, true) and 'unsent' or phase
  local same = settled_as == outcome and (outcome == 'unknown' or string.match(note, '^%S*') == code)
  if same then return 'ALREADY ' .. text end
  if phase ~= 'unknown' or outcome == 'unsent' then return 'CONFLICT ' .. text end
end

local is_exit = string.find(flags, 'x', 1, true)
flags = flags == '-' and '' or flags

-- Reads what the writes below need. With pcall, so that a damaged key doesn't end the script.
local holds_lock = redis.pcall('GET', KEYS.lock) == token
-- What the gate would have denied is no concern of its counters: its observing caller has sent it all the same.
local observed = string.find(flags, 'o', 1, true)
local punished = observed or string.find(flags, 'p', 1, true)
local counts_failure = ARGV.counts_failure == '1' and not punished
local trips_safe_mode = ARGV.trips_safe_mode == '1' and not punished
local symbol_cooldown = not punished and ARGV.rest_symbol_ms ~= '0' and ARGV.rest_symbol_ms
local global_cooldown = not punished and ARGV.rest_global_ms ~= '0' and ARGV.rest_global_ms

-- The window may hold one failure less than its limit already. Then this failure is one too many.
local one_too_many = false
if counts_failure then
  local entry = now_text
  if failure_limit - 2 >= 0 then entry = redis.pcall('LINDEX', KEYS.failures, failure_limit - 2) end
  local failed = type(entry) == 'string' and tonumber(entry)
  one_too_many = failed and failed + failure_window - now > 0
end

-- So much of token and fingerprint tells a settlement that is repeated, and another intent of the same id. On Redis 7.0 the
-- twelve characters less make a record of 266 bytes one of 250: most records are those of placed orders.
local KEPT = 8

-- The writes begin here, with the record: a crash of the server must not lose it.
if counts_failure or symbol_cooldown or global_cooldown or trips_safe_mode then flags = flags .. 'p' end
local settled
if retryable and (outcome == 'rejected' or outcome == 'unsent') then
  redis.call('DEL', KEYS.record)
else
  local keeps_permit = outcome == 'unknown'
  local length = outcome == 'placed' and KEPT or -1
  settled = record_text(outcome == 'unsent' and 'rejected' or outcome, string.sub(token, 1, length), fence,
    string.sub(fingerprint, 1, length), admitted, symbol, side,
    keeps_permit and span or integer(math.max(now - admitted, 0)), keeps_permit and reserved or '0',
    flags .. (outcome == 'unsent' and 'u' or ''), ARGV.note)
  if lapsed then
    redis.call('SET', KEYS.record, settled, 'PX', dedup_ttl)
  else
    redis.call('SET', KEYS.record, settled, 'KEEPTTL')
  end
end

-- The lost memory had given this fence: no later fence may be lower. The memory is new: entries wait, permits verify.
if forgotten then
  --@include halts_by_itself
  redis.pcall('HSET', KEYS.state, 'fence', integer(math.max(last_fence or 0, fence)), 'since', now_text,
    'lost', now_text)
  redis.pcall('HDEL', KEYS.state, 'in_flight')  -- the next entry counts
  in_flight = false
  local lost = 'no record of ' .. ARGV.intent_id .. ', settled as ' .. outcome
  local halts = figures and string.find(figures, ' after_memory_loss=halt ', 1, true)
  if halts then pcall(halts_by_itself, 'memory lost: ' .. lost, now_text) end
  audit(noted_in(), now_text, 'memory lost', 'gate', lost)
end

-- A permit in doubt stays in the in-flight set and in the state, where reconcile finds it. Its lock keeps its TTL.
if outcome == 'unknown' then
  redis.pcall('HSET', KEYS.state, permit_field, settled)
  if observed or unrecorded then
    redis.pcall('ZADD', is_exit and KEYS.exits or KEYS.inflight, integer(admitted + span), reserved .. ':' .. ARGV.intent_id)
    redis.pcall('HDEL', KEYS.state, 'in_flight')  -- the next entry counts
  end
else
  local card, live, all_reserved, counted, earliest, last, lapses = in_flight_unpacked(in_flight)
  local member = reserved .. ':' .. ARGV.intent_id
  -- An exit of which the exits' set knows nothing may stand among the entries, where earlier versions have put it.
  if not (is_exit and redis.pcall('ZREM', KEYS.exits, member) == 1) then
    local removed = redis.pcall('ZREM', KEYS.inflight, member) == 1
    if card and card >= 0 and (removed or not (is_exit or observed or shows_up_late)) then
      local is_counted = admitted + span > counted and 1 or 0
      if removed then
        card, live, all_reserved = card - 1, live - is_counted, all_reserved - is_counted * reserved
      else
        card = -1  -- a hand has taken it out: the next entry counts
      end
      redis.pcall('HSET', KEYS.state, 'in_flight',
        in_flight_packed(card, live, all_reserved, counted, earliest, last, lapses))
    end
  end
  if string.match(copy, '^%l+ (%S+) ') == token then redis.call('HDEL', KEYS.state, permit_field) end
  -- Its margin was reserved until now. Another worker's figure of the account may be older than the order.
  if outcome == 'placed' and not (is_exit or observed) and admitted + span > now then
    --@include note_placed
  end
  if holds_lock then redis.call('DEL', KEYS.lock) end
end

-- Nothing was sent, so both windows get their slot back, if it had one.
if outcome == 'unsent' and not observed and not without_store then
  if not is_exit then redis.pcall('LREM', KEYS.rate_symbol, '1', admitted) end
  local emptied = redis.pcall('LREM', KEYS.rate_global, '1', admitted) == 1
    and not redis.pcall('LINDEX', KEYS.rate_global, '0')
  local _, _, _, _, _, _, lapses = in_flight_unpacked(in_flight)
  if emptied and lapses and lapses > now then
    -- An entry that never counts keeps the list: without it, a later verdict would take it for lapsed.
    redis.pcall('LPUSH', KEYS.rate_global, '0')
    redis.pcall('PEXPIRE', KEYS.rate_global, integer(lapses - now))
  end
end

if shows_up_late then
  local order = 'order ' .. code .. ' of ' .. ARGV.intent_id
  audit(noted_in(), now_text, 'late order', 'gate', order .. ', settled as absent')
end

-- Whoever reconciles looks it up again, for ten minutes, though the process that settles it ends.
if outcome == 'rejected' and code == 'NOT_PLACED' then
  audit(noted_in(), now_text, 'settled as absent', 'gate', ARGV.intent_id)
end

-- Penalties: once for each token.
local found = forgotten and 'memory' or shows_up_late and 'late' or '-'
local why = ARGV.penalty_reason ~= '' and ARGV.penalty_reason or code
if trips_safe_mode or one_too_many then
  local tripped_by = symbol .. ': ' .. why
  if not trips_safe_mode then
    tripped_by = failure_limit .. ' failures in ' .. failure_window / 1000 .. ' s, the last on ' .. tripped_by
  end
  if trip_safe_mode(KEYS.safe_mode, KEYS.failures, noted_in(), safe_mode_ttl, now_text, tripped_by) then
    found = found == '-' and 'safe_mode' or 'safe_mode,' .. found
  end
elseif counts_failure and type(redis.pcall('LPUSH', KEYS.failures, now_text)) == 'number' then
  redis.call('LTRIM', KEYS.failures, '0', failure_limit - 1)
  redis.call('PEXPIRE', KEYS.failures, failure_window)
end
if symbol_cooldown then
  trip_cooldown(KEYS.cooldown_symbol, noted_in(), symbol_cooldown, now_text, 'cooldown_symbol ' .. symbol, why)
end
if global_cooldown then
  trip_cooldown(KEYS.cooldown_global, noted_in(), global_cooldown, now_text, 'cooldown_global', why)
end

return 'SETTLED ' .. found .. (settled and ' ' .. settled or '')
