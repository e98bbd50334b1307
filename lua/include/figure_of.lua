-- What does the policy in force say of one figure? As text; nil where the state doesn't hold it. `figures` is the field
-- of that name in the state: ' rate_symbol_limit=1 rate_symbol_window_ms=30000 … ', with a space at both ends.
-- Nil too for what no policy has, 0 or sixteen digits: a hand has written it, and the command that takes it would fail.
local function figure_of(figures, name)
  local text = figures and string.match(figures, ' ' .. name .. '=([1-9]%d*) ')
  return text and #text < 16 and text or nil
end
