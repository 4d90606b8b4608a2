-- One request of one subject, against several rules, in one step. The subject's key is a list of the times (microseconds,
-- by the clock of Redis) of the requests that passed, oldest first; it never holds more than the first rule allows.
-- ARGV: for each rule its number of requests and its window in microseconds, the longest window first.
-- Returns, of the requests that had passed before: how many, and how long ago (microseconds; -1: there is none) the last was
-- and, for each rule, the one that is its number from the end: while that is within the window, the rule allows no more.
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
