-- How does a whole number leave a script? As text, digit by digit: `..` and tostring turn to exponents at 10^14, some
-- servers' own conversion already at 10^8.
local function integer(number)
  return string.format('%.0f', number)
end
