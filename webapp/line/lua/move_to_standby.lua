-- Move all tickets of the line to standby, in order, once the quota is reached.
--
-- KEYS     1 gate   2 line   3 standby
-- Returns  how many tickets moved; 0 when coupons came back in the meantime (the gate no longer says sold out)
--
-- A repeat changes nothing.

local gate, line, standby = KEYS[1], KEYS[2], KEYS[3]

if redis.call('HGET', gate, 'sold_out') ~= '1' then return 0 end
local waiting = redis.call('ZCARD', line)
if waiting == 0 then return 0 end
if redis.call('EXISTS', standby) == 0 then
  redis.call('RENAME', line, standby)
else
  redis.call('ZUNIONSTORE', standby, 2, standby, line, 'AGGREGATE', 'MIN')
  redis.call('DEL', line)
end
return waiting
