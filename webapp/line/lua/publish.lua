-- Copy a committed row of the coupon to its gate. When coupons came back, make standby the line again.
--
-- KEYS     1 gate   2 line   3 standby
-- ARGV     1 revision   2 status   3 quota ("" = unlimited)   4 issued   5 opens_at ms   6 closes_at ms
--          7 sold out (0 or 1)
-- Returns  1 written; 0 the gate has a newer revision; -1 no epoch is open in this run of the server
--
-- Standby keeps its numbers. They are lower than all later ones, so standby is first in line by itself. A repeat
-- changes nothing.

local gate, line, standby = KEYS[1], KEYS[2], KEYS[3]
local sold_out = ARGV[7]

local known = redis.call('HMGET', gate, 'revision', 'sold_out', 'run_id')
if not known[1] or known[3] ~= this_run() then return -1 end
if tonumber(ARGV[1]) < tonumber(known[1]) then return 0 end

redis.call('HSET', gate, 'revision', ARGV[1], 'status', ARGV[2], 'quota', ARGV[3], 'issued', ARGV[4],
  'opens_at', ARGV[5], 'closes_at', ARGV[6], 'sold_out', sold_out)
local widest = redis.call('HMGET', gate, 'first_opens_at', 'last_closes_at')
redis.call('HSET', gate, 'first_opens_at', whole(math.min(ARGV[5], widest[1] or ARGV[5])),
  'last_closes_at', whole(math.max(ARGV[6], widest[2] or ARGV[6])))
if sold_out == '1' then
  if known[2] ~= '1' then
    redis.call('HSET', gate, 'sold_out_at', whole(clock_ms()))
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
