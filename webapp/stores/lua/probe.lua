-- Write one key, to see whether Redis takes the writes of a click, and whether its clock was put back.
--
-- KEYS     1 probe
-- ARGV     1 life of the key in ms
-- Returns  {now_ms, back_ms}: how far the clock is behind the latest time that the key has seen; a server that is read
--          only, full or cannot save answers with an error instead, and so does this script when it is nearly full, as a
--          claim does
--
-- A repeat changes nothing but how long the key lives.

if is_nearly_full() then return redis.error_reply('OOM only the reserve of memory is left') end
local now_ms = clock_ms()
local latest_ms = math.max(now_ms, tonumber(redis.call('GET', KEYS[1]) or 0) or 0)
redis.call('SET', KEYS[1], whole(latest_ms), 'PX', ARGV[1])
return {now_ms, latest_ms - now_ms}
