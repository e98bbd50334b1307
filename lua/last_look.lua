#!lua flags=no-writes
-- May the holder of a permit still send its order? Asked right before sending. Called by EVALSHA_RO.
--
-- KEYS   1 record            P:exec:processed:{intent_id}       string  the intent's record
--        2 lock              P:exec:lock:{symbol}:{side}        string
--        3 halt              P:safety:halt                      hash
--        4 safe_mode         P:safety:safe_mode                 string
--        5 reasons           P:safety:reasons                   hash
--        6 placed            P:exec:placed                      list    the entries that were placed last; see note_placed
--
-- ARGV   1 intent_id
--        2 token
--        3 is_exit           1 for an intent that can only reduce, else 0
--        4 needed_ms         how long from now the exchange may still accept the order
--        5 observes          1 for a caller that only observes, else 0: of the guards, only a halt binds it
--        6 placed_after      `` for a caller that knows what is free, or what is open, from a reading. For one whose
--                            figures may be older than the orders of others: the first line of the last reply to it,
--                            or `-`
--
-- Reply  one line of text, its first word says which:
--   HOLDS                 the permit holds. With placed_after: `HOLDS now_ms`, and below it lines as note_placed tells,
--                         of the orders placed since, the newest first, down to placed_after; without a line that is
--                         placed_after, of all that are kept. A last line `-` says that there may have been older ones
--                         since. An exit holds without any where they are damaged
--   DEADLINE detail       the permit ends before the exchange has refused the order
--   PERMIT_LOST detail    the record isn't that of this permit, or the permit is settled
--   LOCK_LOST detail      another permit may act for this symbol and side before the exchange has refused the order
--   HALTED detail         a person has halted since the verdict
--   SAFE_MODE detail      safe mode is on since the verdict
--   or an error that names the key: a value of the wrong type
--@include read
--@include record_fields
--@include server_now
--@include halted
--@include switched_on
--@include placed_since

local record = read('GET', KEYS.record)
local mine = 'admitted ' .. ARGV.token .. ' '
if not record then return 'PERMIT_LOST the store has no record of ' .. ARGV.intent_id end
if string.sub(record, 1, #mine) ~= mine then
  return 'PERMIT_LOST the record is another permit\'s, or the permit is settled'
end

-- The deadline by the server's clock, too: our own may have stood still.
local now, now_text = server_now()
local _, _, _, _, admitted, _, _, span = record_fields(record)
local life = admitted + span - now
if life - ARGV.needed_ms < 0 then
  return 'DEADLINE ' .. life .. ' ms of the permit are left, ' .. ARGV.needed_ms .. ' are needed'
end

local is_exit = ARGV.is_exit == '1'

local halt = halted(is_exit)
if halt then return 'HALTED ' .. halt end
if not is_exit and ARGV.observes ~= '1' then
  -- The lock, not only our own clock: where the server's clock has stepped, it lapses before its holder expects it.
  if read('GET', KEYS.lock) ~= ARGV.token then return 'LOCK_LOST another permit holds this symbol and side, or none' end
  local left = redis.call('PTTL', KEYS.lock)
  if left - ARGV.needed_ms < 0 then
    return 'LOCK_LOST ' .. left .. ' ms of the lock are left, ' .. ARGV.needed_ms .. ' are needed'
  end

  local why = switched_on(KEYS.safe_mode)
  if why then return 'SAFE_MODE ' .. why end
end
if ARGV.placed_after == '' then return 'HOLDS' end

local told = placed_since(KEYS.placed, ARGV.placed_after)
if told then return 'HOLDS ' .. now_text .. '\n' .. told end
return is_exit and 'HOLDS' or 'HOLDS ' .. now_text .. '\n-'
