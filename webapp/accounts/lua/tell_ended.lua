-- Add sessions that ended to the set that every web process reads.
--
-- KEYS     1 ended: "user id:least session epoch that still counts" by score
-- ARGV     1 how long an entry is kept, in ms   2... the entries
-- Returns  nothing
--
-- The score is the time in ms, but always above the last one. So a reader that has read up to a score misses no later
-- entry, also when the clock is put back. A repeat changes nothing.

local ended = KEYS[1]
local now_ms = clock_ms()
local last = redis.call('ZRANGE', ended, -1, -1, 'WITHSCORES')[2]
local score = math.max(now_ms, (last or 0) + 1)

for index = 2, #ARGV do
  if not redis.call('ZSCORE', ended, ARGV[index]) then
    redis.call('ZADD', ended, whole(score), ARGV[index])
    score = score + 1
  end
end
redis.call('ZREMRANGEBYSCORE', ended, '-inf', whole(now_ms - ARGV[1]))
