-- Checks and counts one request of one subject against several rules. The key is a list of the times of the allowed requests
-- (microseconds, by the clock of Redis), oldest first. It has at most as many elements as the first rule allows.
-- ARGV: for each rule, the number of requests and the window in microseconds, the longest window first.
-- Returns the number of earlier allowed requests, the age of the last one in microseconds (-1: none) and, for each rule of N
-- requests, the age of the N-th one from the end. While that is within the window, the rule allows no request.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local longest = tonumber(ARGV[2])

local oldest = redis.call('LINDEX', KEYS[1], 0)
while oldest and now - oldest >= longest do
  redis.call('LPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], 0)
end

local function age(index)
  local time = redis.call('LINDEX', KEYS[1], index)
  return time and math.max(now - time, 0) or -1
end

local answer, allowed = {redis.call('LLEN', KEYS[1]), age(-1)}, true
for rule = 1, #ARGV, 2 do
  local nth = age(-tonumber(ARGV[rule]))
  answer[#answer + 1] = nth
  if nth >= 0 and nth < tonumber(ARGV[rule + 1]) then allowed = false end
end

if allowed then
  redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[1], math.ceil(longest / 1000))
end
return answer
