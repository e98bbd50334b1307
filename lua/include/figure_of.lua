-- What does the policy in force say of one figure? As text; nil where the state doesn't hold it. `figures` is the field
-- of that name in the state: ' rate_symbol_limit=1 rate_symbol_window_ms=30000 … ', with a space at both ends.
local function figure_of(figures, name)
  return figures and string.match(figures, ' ' .. name .. '=(%d+) ')
end
