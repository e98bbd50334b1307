#!lua flags=allow-oom
-- Tells what has come of an order since its intent's result, in the stream of the results. Every service of an account hears
-- of it; the first one tells it. What was told and that it was told are written in one step: no crash can come between the
-- two, and a call whose reply was lost can be repeated.
--
-- KEYS   1 answers           P:stream:execution.result              stream  where the update goes
--        2 order             P:stream:order:{client_order_id}       string  what was told of the order so far
--        3 open_orders       P:stream:order:open                    zset    the orders of which more may come, by when
--                                                                           that was noted
--
-- ARGV   1 before            the value of `order` that the caller has read, and of which it knows more; empty for none
--        2 told              the new value
--        3 told_ms           how long that stays
--        4 client_order_id   the order's
--        5 open              1 where more may come of the order; else 0
--        6 now_ms            the moment, on the caller's clock
--        7 most              about how many entries the stream keeps
--        8… fields           names and values of the update
--
-- Reply  1: the update is written. 0: something was told of the order since the caller has read it. Read it again.
--@include read
--@include note_order

if (read('GET', KEYS.order) or '') ~= ARGV.before then return 0 end
redis.call('XADD', KEYS.answers, 'MAXLEN', '~', ARGV.most, '*', unpack(ARGV, ARGV.from.fields))
note_order()
return 1
