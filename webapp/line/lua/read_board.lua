-- Read what the live board shows of a line, all at one instant.
--
-- KEYS     1 gate   2 line   3 standby   4 results   5 arrivals   6 turnout   7 refused
-- ARGV     1 length of a bucket of arrivals in ms   2 how long in ms the word of a web process counts
-- Returns  {now_ms, name of this run of the server, tickets in line, tickets in standby, {field, value, …} of the gate,
--          oldest_ms, results, pages, polls, {why, clicks, …}}; oldest_ms: how long the first ticket has waited, -1 where
--          nobody waits or its arrival is not known; pages that poll and polls a second: of all web processes together

local gate, line, standby, results, arrivals, turnout, refused = unpack(KEYS)
local bucket_ms, fresh_ms, now_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), clock_ms()

local oldest_ms, first = -1, redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
local bucket = first[2] and redis.call('ZREVRANGEBYSCORE', arrivals, first[2], '-inf', 'LIMIT', 0, 1)[1]
if tonumber(bucket) then oldest_ms = math.max(0, now_ms - bucket * bucket_ms) end

local pages, polls = 0, 0
for _, told in ipairs(redis.call('HVALS', turnout)) do
  local at_ms, its_pages, its_polls = string.match(told, '^%d+:(%d+):(%d+):(%d+)$')
  if at_ms and math.abs(now_ms - at_ms) <= fresh_ms then
    pages, polls = pages + its_pages, polls + its_polls
  end
end
return {now_ms, RUN, redis.call('ZCARD', line), redis.call('ZCARD', standby), redis.call('HGETALL', gate),
  oldest_ms, redis.call('HLEN', results), pages, polls, redis.call('HGETALL', refused)}
