-- How does a whole number leave a script? As text, with all its digits. `..` and tostring write exponents from 10^14
-- on, and the conversion of some servers does from 10^8 on.
local function integer(number)
  return string.format('%.0f', number)
end
