-- How is a record written? One line of eleven fields, the same for every phase.
--   phase token fence fingerprint admitted_ms symbol side span_ms reserved flags note
-- phase     admitted | placed | rejected | unknown
-- token, fingerprint  placed: the first eight characters; see settle.lua
-- span_ms   admitted, unknown: the permit's lifetime; placed, rejected: the time from admission to settlement
-- reserved  margin in millionths while the permit is in the in-flight set, else 0
-- flags     letters, - for none: v the permit says verify, x an exit, p a penalty was applied, u settled as unsent, o
--           its caller only observes, and a guard would have denied, d an exit that came with another policy than the
--           one in force, s an exit that went without the store
-- note      admitted: the margin that earlier permits reserve and, with v, the least age in ms of a lost order; with o,
--           the reason, wait and detail of the denial; placed: the order id; else a code and a detail. May hold spaces
local function record_text(phase, token, fence, fingerprint, admitted, symbol, side, span, reserved, flags, note)
  return phase .. ' ' .. token .. ' ' .. fence .. ' ' .. fingerprint .. ' ' .. admitted .. ' ' .. symbol .. ' ' .. side
    .. ' ' .. span .. ' ' .. reserved .. ' ' .. (flags == '' and '-' or flags) .. ' ' .. note
end
