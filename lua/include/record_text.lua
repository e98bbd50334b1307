-- How is a record written? One line of eleven fields, the same for every phase.
--   phase token fence fingerprint admitted_ms symbol side span_ms reserved flags note
-- phase     admitted | placed | rejected | unknown
-- span_ms   admitted, unknown: the permit's life, from admitted_ms; placed, rejected: how long it took to settle
-- reserved  margin in millionths while the permit is in the in-flight set, else 0
-- flags     letters, - for none: v the permit says verify, x an exit, p a penalty was applied, u settled as unsent
-- note      admitted: margin reserved ahead of it and, with v, the age of this memory in ms; placed: the order id;
--           else a code and a detail. May hold spaces
local function record_text(phase, token, fence, fingerprint, admitted, symbol, side, span, reserved, flags, note)
  return phase .. ' ' .. token .. ' ' .. fence .. ' ' .. fingerprint .. ' ' .. admitted .. ' ' .. symbol .. ' ' .. side
    .. ' ' .. span .. ' ' .. reserved .. ' ' .. (flags == '' and '-' or flags) .. ' ' .. note
end
