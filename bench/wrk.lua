-- Send prepared requests from the file that REQUESTS names: 8 digits of length, then the request.
-- Every thread takes its share; a thread that has sent all of it begins again. Answers other than EXPECTED are counted.

local requests, position, threads, mine = {}, 0, 0, 0
local everyone = {}

function setup(thread)
  thread:set('mine', threads)
  table.insert(everyone, thread)
  threads = threads + 1
end

function init(args)
  local share, of = mine, tonumber(os.getenv('THREADS'))
  local file = assert(io.open(os.getenv('REQUESTS'), 'rb'))
  local index = 0
  while true do
    local length = file:read(8)
    if not length then break end
    local text = file:read(tonumber(length))
    if index % of == share then table.insert(requests, text) end
    index = index + 1
  end
  file:close()
  wrong, sent, expected = 0, 0, tonumber(os.getenv('EXPECTED'))
end

function request()
  sent = sent + 1
  position = position % #requests + 1
  return requests[position]
end

function response(status)
  if status ~= expected then wrong = wrong + 1 end
end

function done(summary, latency)
  local wrong, sent = 0, 0
  for _, thread in ipairs(everyone) do
    wrong, sent = wrong + thread:get('wrong'), sent + thread:get('sent')
  end
  local e = summary.errors
  io.write(string.format('RESULT {"answers": %d, "seconds": %f, "wrong": %d, "errors": %d, "sent": %d, "p50_ms": %f, "p99_ms": %f}\n',
    summary.requests, summary.duration / 1e6, wrong, e.connect + e.read + e.write + e.timeout, sent,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
