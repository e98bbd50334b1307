#!lua flags=no-writes
-- Which permits may still send an order? Asked after a halt, until there are none. Called by EVALSHA_RO.
--
-- KEYS   1 inflight          P:exec:inflight                    zset    {reserved}:{intent_id} by deadline in ms
--        2 state             P:exec:state                       hash    fence, since, lost, run_id, figures;
--                                                               permit:{intent_id}: a copy of the record;
--                                                               entries_until, exits_until: the last deadline of
--                                                               callers that only observe, of intents that others
--                                                               would be denied
--        3 halt              P:safety:halt                      hash    scope
--        4 applied           P:safety:policy                    string  the policy in force by a person's act
--        5 exits             P:exec:inflight:exits              zset    as inflight, the permits of exits
--
-- ARGV   1 since_ms          permits whose deadline is later than this; 0: now. A caller who asks again gives the `now`
--                            of its first call, so that a clock that steps hides no permit
--        2 exits_too         1 or 0
--        3 server            the server's word, which evaluate.lua explains
--
-- Reply  {known, permit, …}
--   known   `now_ms scope lock_ttl_ms lost_ms unread`. scope: of the halt in force; `-` without one, `?` when it can't
--           be read. lock_ttl_ms: of the policy in force; 0 when it isn't known. lost_ms: when the last loss of memory
--           was noticed; 0: there was none; -1: one that nobody has noticed yet, or damage. Permits that were lost may
--           live for lock_ttl_ms after it. unread: permits beyond the first 1,000
--   permit  `deadline_ms symbol side intent_id`, the earliest first; symbol and side are `?` without a copy. The last
--           one may stand for all those that entries_until and exits_until tell of: its intent_id is `observed`
--@include integer
--@include record_fields
--@include server_now
--@include figure_of

local now, now_text = server_now()
local since = tonumber(ARGV.since_ms) > 0 and ARGV.since_ms or now_text

local scope = redis.pcall('HGET', KEYS.halt, 'scope')
if type(scope) == 'table' then
  scope = '?'
elseif not scope then
  scope = redis.call('EXISTS', KEYS.halt) == 1 and 'entries' or '-'
elseif scope ~= 'all' then
  scope = 'entries'  -- as the guard reads it
end

local state = redis.pcall('HMGET', KEYS.state, 'fence', 'since', 'run_id', 'lost', 'figures', 'entries_until',
  'exits_until')
local lost = '0'
if state.err or not state[1] or not state[2] or state[3] ~= string.match(ARGV.server, '^%S+') then
  lost = '-1'
elseif state[4] then
  lost = string.match(state[4], '^%d+$') or '-1'
end
local applied = redis.pcall('GET', KEYS.applied)
local figures = type(applied) == 'string' and string.match(applied, '\n( [^\n]*)') or not state.err and state[5]
local lock_ttl = figure_of(figures, 'lock_ttl_ms') or '0'

local permits, unread = {}, 0
-- Earlier versions have put exits among the entries.
local members = {}
for _, key in ipairs(ARGV.exits_too == '1' and {KEYS.inflight, KEYS.exits} or {KEYS.inflight}) do
  local some = redis.pcall('ZRANGEBYSCORE', key, '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', '0', '1000')
  if some.err then
    lost, some = '-1', {}  -- whose permits it held isn't known
  elseif #some == 2000 then
    unread = unread + redis.call('ZCOUNT', key, '(' .. since, '+inf') - 1000
  end
  for i = 1, #some do members[#members + 1] = some[i] end
end
local fields = {}
for i = 1, #members, 2 do fields[#fields + 1] = 'permit:' .. string.match(members[i], '^[^:]*:?(.*)$') end
local copies = #fields > 0 and redis.pcall('HMGET', KEYS.state, unpack(fields)) or {}
for i = 1, #fields do
  local _, _, _, _, _, symbol, side, _, _, flags = record_fields(not copies.err and copies[i] or '')
  if ARGV.exits_too == '1' or not (flags and string.find(flags, 'x', 1, true)) then
    local deadline = integer(tonumber(members[2 * i]))
    permits[#permits + 1] =
      deadline .. ' ' .. (symbol or '?') .. ' ' .. (side or '?') .. ' ' .. string.sub(fields[i], 8)
  end
end
if not state.err then
  local observed = tonumber(state[6]) or 0
  if ARGV.exits_too == '1' then observed = math.max(observed, tonumber(state[7]) or 0) end
  if observed - since > 0 then permits[#permits + 1] = integer(observed) .. ' ? ? observed' end
end
return {now_text .. ' ' .. scope .. ' ' .. lock_ttl .. ' ' .. lost .. ' ' .. integer(unread), unpack(permits)}
