-- What was told of an order? So the next update of it tells more, whichever service hears of that. And may more come? A
-- service that starts asks the exchange for those orders.
-- Needs KEYS.order, open_orders; ARGV.told, told_ms, client_order_id, open, now_ms
local function note_order()
  redis.call('SET', KEYS.order, ARGV.told, 'PX', ARGV.told_ms)
  -- By pcall: a user without this right, of an earlier version, has its answers all the same.
  if ARGV.open == '1' then
    redis.pcall('ZADD', KEYS.open_orders, ARGV.now_ms, ARGV.client_order_id)
    redis.pcall('ZREMRANGEBYRANK', KEYS.open_orders, 0, -2001)
    redis.pcall('PEXPIRE', KEYS.open_orders, ARGV.told_ms)
  else
    redis.pcall('ZREM', KEYS.open_orders, ARGV.client_order_id)
  end
end
