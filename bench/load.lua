-- Asks a server for what the lines of a file say, in turn, and prints its figures as one line of JSON at the end.
-- A line: the key, a space, the path.
local requests, asked = {}, 0

function init(args)
  for line in io.lines(args[1]) do
    local key, path = line:match('^(%S+) (%S+)$')
    table.insert(requests, wrk.format('GET', path, {['X-Api-Key'] = key}))
  end
end

function request()
  asked = asked % #requests + 1
  return requests[asked]
end

-- Times are in microseconds. What was not well: a connection, its reading or writing, a status above 399, an answer too late.
function done(summary, latency)
  local errors = summary.errors
  print(string.format('{"requests": %d, "duration": %d, "p99": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}',
    summary.requests, summary.duration, latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
