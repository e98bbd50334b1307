-- How does the gate halt, where a policy wants a person to look after a loss of memory? A halt that is on stays as it is. A
-- user who may write the halt could also lift a person's; so callers with users of their own make it beside it, and
-- RENAMENX puts it there, which never replaces one. Raises an error where the user may not do that either. It is audited as a
-- person's halt is.
-- Needs audit, noted_in; KEYS.halt, trip
local function halts_by_itself(reason, now_text)
  if redis.call('EXISTS', KEYS.halt) == 1 then return end
  local key = redis.acl_check_cmd('HSET', KEYS.halt, 'scope', '') and KEYS.halt or KEYS.trip
  if key ~= KEYS.halt then redis.call('DEL', key) end
  redis.call('HSET', key, 'scope', 'entries', 'by', 'gate', 'reason', reason, 'at', now_text)
  if key ~= KEYS.halt then redis.call('RENAMENX', key, KEYS.halt) end
  audit(noted_in(), now_text, 'halt entries', 'gate', reason)
end
