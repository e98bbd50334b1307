-- Was the act audited? Appends to the audit stream. False when the stream is damaged; that must not stop a halt or
-- a trip.
local function audit(audit_key, now_text, what, by, reason, call)
  local entry = redis.pcall('XADD', audit_key, 'MAXLEN', '~', '10000', '*',
    'what', what, 'by', by, 'reason', reason, 'at', now_text, 'call', call or '')
  return type(entry) == 'string'
end
