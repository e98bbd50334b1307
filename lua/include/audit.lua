-- Was the act audited? Appends to the audit stream. False when the stream is damaged; that must not stop a halt or
-- a trip. `user`: of a person's act, the user that the server knows, beside the name that was given.
local function audit(audit_key, now_text, what, by, reason, call, user)
  local entry = redis.pcall('XADD', audit_key, 'MAXLEN', '~', '10000', '*',
    'what', what, 'by', by, 'reason', reason, 'at', now_text, 'call', call or '', 'user', user or '')
  return type(entry) == 'string'
end
