#!lua flags=allow-oom
-- Marks an alert as told, and says what was marked before: of the services of an account that see the same, one tells it. In
-- one step, so that no two of them find the same mark. A server that is full takes it, too.
--
-- KEYS   1 mark              P:stream:alert:{kind}            string  `1` while it is on, `0` when it is over
--
-- ARGV   1 turn              the new value
--        2 keep_ms           how long it stays
--
-- Reply  what was marked before, `-` for nothing; a space; how long ago that was, in ms

local before = redis.pcall('GET', KEYS.mark)
local left = redis.call('PTTL', KEYS.mark)
redis.call('SET', KEYS.mark, ARGV.turn, 'PX', ARGV.keep_ms)
return (type(before) == 'string' and before or '-') .. ' ' .. string.format('%.0f', ARGV.keep_ms - left)
