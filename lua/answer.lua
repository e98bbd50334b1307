#!lua flags=allow-oom
-- Answers one entry of the stream of intents, and acknowledges it, in one step: no crash can come between the two.
-- However often an intent is delivered, one result of it is written. Only where that tells of no order, another delivery may
-- still become one: then the result of that is written too. So is one that says no for good, after one that said not now.
--
-- KEYS   1 entries           P:stream:trade.intent                  stream  what the service reads
--        2 answers           P:stream:execution.result              stream  where the answer goes
--        3 answered          P:stream:answered:{intent_id}:{print}  string  the answer's id in its stream; `no_order `
--                                                                           before it, where the answer was such a one;
--                                                                           and `retryable ` behind that, where it was
--        4 order             P:stream:order:{client_order_id}       string  what was told of the intent's order, for its
--                                                                           updates (lua/order_update.lua)
--        5 open_orders       P:stream:order:open                    zset    the orders of which more may come, by when
--                                                                           that was noted
--
-- ARGV   1 group             the consumer group
--        2 entry             the entry's id
--        3 keep_ms           how long `answered` stays at least: as long as the intent may be delivered again
--        4 most              about how many answers the stream keeps
--        5 no_order          1 where no order has come of this delivery; else 0
--        6 told              the new value of `order`; empty where the answer tells of none
--        7 told_ms           how long that stays
--        8 client_order_id   the order's
--        9 open              1 where more may come of the order; else 0
--       10 now_ms            the moment, on the caller's clock
--       11 retryable         1 where the same intent may be admitted later; else 0
--       12… fields           names and values of the answer
--
-- Reply  1: the answer is written. 0: the intent has one already, or another worker has answered this entry. Either way
--        the entry is acknowledged.
--@include read
--@include note_order

local before = read('GET', KEYS.answered)
local no_order = ARGV.no_order == '1'
local turns_final = no_order and ARGV.retryable == '0' and before and string.sub(before, 1, 19) == 'no_order retryable '
local answered = before and not turns_final and (no_order or string.sub(before, 1, 9) ~= 'no_order ')
local pending = #read('XPENDING', KEYS.entries, ARGV.group, ARGV.entry, ARGV.entry, 1) > 0
-- An entry that is there and not pending was answered by another worker, so long ago that nothing tells of it. One that is
-- gone may have been lost with the store's memory; nobody else answers it then. Nor does anybody answer an order whose
-- consumer a person has deleted: what is kept of an order's answer lives for an hour at least, so its absence counts.
local by_another = no_order and not before and not pending and #read('XRANGE', KEYS.entries, ARGV.entry, ARGV.entry) > 0
-- Updates may have told more of this very order: of one that showed up after its absence was told, and whose other delivery
-- is answered now. Its result doesn't put that back. Both texts are of one encoder, and no text in them has a bare quote.
local of_order = '"order_id":"([^"]+)"'
local told_before = redis.pcall('GET', KEYS.order)
local further = ARGV.open == '1' and type(told_before) == 'string' and string.find(told_before, '"updates":', 1, true)
  and string.match(told_before, of_order) == string.match(ARGV.told, of_order)
-- A denial for good may come for its age, which is kept short: then the mark of the first one lives on, or there would be
-- another as soon as it lapses.
local keep_ms = math.max(tonumber(ARGV.keep_ms), turns_final and redis.call('PTTL', KEYS.answered) or 0)
if not (answered or by_another) then
  -- The first write: where the answers can't be written, nothing is.
  local id = redis.call('XADD', KEYS.answers, 'MAXLEN', '~', ARGV.most, '*', unpack(ARGV, ARGV.from.fields))
  local kind = no_order and (ARGV.retryable == '1' and 'no_order retryable ' or 'no_order ') or ''
  redis.call('SET', KEYS.answered, kind .. id, 'PX', string.format('%.0f', keep_ms))
  if ARGV.told ~= '' and not further then note_order() end
end
redis.call('XACK', KEYS.entries, ARGV.group, ARGV.entry)
return (answered or by_another) and 0 or 1
