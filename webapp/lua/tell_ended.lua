-- Tell every web process of sessions that ended.
--
-- KEYS     1 ended: "user id:least session epoch that still counts" by score
-- ARGV     1 how long an entry is kept, in ms   2... the entries
-- Returns  nothing
--
-- The score is the time in ms, yet always above the last one: whoever read up to a score misses nothing, and a clock that
-- is put back hides nothing. A repeat changes nothing.

local ended = KEYS[1]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local last = redis.call('ZRANGE', ended, -1, -1, 'WITHSCORES')[2]
local score = math.max(now_ms, (last or 0) + 1)

for index = 2, #ARGV do
  if not redis.call('ZSCORE', ended, ARGV[index]) then
    redis.call('ZADD', ended, string.format('%.0f', score), ARGV[index])
    score = score + 1
  end
end
redis.call('ZREMRANGEBYSCORE', ended, '-inf', string.format('%.0f', now_ms - ARGV[1]))
