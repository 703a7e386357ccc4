-- Create the gate of a line from what SQL knows, where there is none.
--
-- KEYS     1 gate   2 line   3 standby
-- ARGV     1 revision   2 status   3 quota ("" = unlimited)   4 issued   5 opens_at ms   6 closes_at ms   7 sold out (0 or 1)
--          8 epoch   9 floor: no new number at or below it   10 serving: the highest number that SQL decided
-- Returns  1 created, 0 there was one already (nothing is changed)
--
-- The counter also starts above every ticket that survived in the line or in standby.

local gate, line, standby = KEYS[1], KEYS[2], KEYS[3]
local last = tonumber(ARGV[9])

if redis.call('HEXISTS', gate, 'epoch') == 1 then return 0 end
for _, queue in ipairs({line, standby}) do
  local top = redis.call('ZREVRANGE', queue, 0, 0, 'WITHSCORES')
  if top[2] and tonumber(top[2]) > last then last = tonumber(top[2]) end
end
redis.call('HSET', gate, 'revision', ARGV[1], 'status', ARGV[2], 'quota', ARGV[3], 'issued', ARGV[4],
  'opens_at', ARGV[5], 'closes_at', ARGV[6], 'sold_out', ARGV[7], 'epoch', ARGV[8],
  'last', string.format('%.0f', last), 'serving', ARGV[10])
return 1
