-- One request of one subject, against several rules, in one step. The subject's key is a list of the times (microseconds,
-- by the clock of Redis) of the requests that passed, oldest first; it never holds more than the first rule allows.
-- ARGV: for each rule its number of requests and its window in microseconds, the longest window first.
-- Returns: 1 or 0, and the ages of the requests that had passed before, in microseconds, oldest first.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local longest = tonumber(ARGV[2])

local oldest = redis.call('LINDEX', KEYS[1], 0)
while oldest and now - oldest >= longest do
  redis.call('LPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], 0)
end

local answer = {1}
local passed = redis.call('LRANGE', KEYS[1], 0, -1)
for rule = 1, #ARGV, 2 do
  local within = 0
  for _, time in ipairs(passed) do
    if now - time < tonumber(ARGV[rule + 1]) then within = within + 1 end
  end
  if within >= tonumber(ARGV[rule]) then answer[1] = 0 end
end
for i, time in ipairs(passed) do answer[i + 1] = now - time end

if answer[1] == 1 then
  redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[1], math.ceil(longest / 1000))
end
return answer
