-- Rewrite the gate after a committed change of the coupon; bring standby back when coupons came back.
--
-- KEYS     1 gate   2 line   3 standby
-- ARGV     1 revision   2 status   3 quota ("" = unlimited)   4 issued   5 opens_at ms   6 closes_at ms   7 sold out (0 or 1)
-- Returns  -1 gate missing (never created here) or older than this life of the server, 0 a newer revision stands,
--          1 written
--
-- Standby keeps its numbers, which are lower than any given later: it is first in line by itself.

local gate, line, standby = KEYS[1], KEYS[2], KEYS[3]
local sold_out = ARGV[7]

local known = redis.call('HMGET', gate, 'revision', 'sold_out', 'run_id')
if not known[1] or known[3] ~= string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') then return -1 end
if tonumber(ARGV[1]) < tonumber(known[1]) then return 0 end

redis.call('HSET', gate, 'revision', ARGV[1], 'status', ARGV[2], 'quota', ARGV[3], 'issued', ARGV[4],
  'opens_at', ARGV[5], 'closes_at', ARGV[6], 'sold_out', sold_out)
if sold_out == '1' then
  if known[2] ~= '1' then
    local time = redis.call('TIME')
    redis.call('HSET', gate, 'sold_out_at', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
  end
  return 1
end
redis.call('HDEL', gate, 'sold_out_at')
if redis.call('EXISTS', standby) == 1 then
  if redis.call('EXISTS', line) == 0 then
    redis.call('RENAME', standby, line)
  else
    redis.call('ZUNIONSTORE', line, 2, line, standby, 'AGGREGATE', 'MIN')
    redis.call('DEL', standby)
  end
end
return 1
