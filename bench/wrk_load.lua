-- Makes the requests in a file in turn, and prints the figures as one line of JSON at the end.
-- Each line of the file is a key, a space and a path.
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

-- Times are in microseconds. Failures are counted by cause: connect, read, write, a status above 399, timeout.
function done(summary, latency)
  local errors = summary.errors
  print(string.format('{"requests": %d, "duration": %d, "p99": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}',
    summary.requests, summary.duration, latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
