-- How does a whole number leave a script? As text, with all its digits. `..` and tostring write exponents from 10^14
-- on, and the conversion of some servers does from 10^8 on. `%d` takes half the time of `%.0f`, but where a server has 32
-- bits it knows numbers below 2^31 only: so a time in ms is written as seconds and thousandths.
local function integer(number)
  if number < 2147483648 and number > -2147483648 then return string.format('%d', number) end
  if number < 2147483648000 and number > 0 then
    local beyond = number % 1000
    return string.format('%d%03d', (number - beyond) / 1000, beyond)
  end
  return string.format('%.0f', number)
end
