-- Set the bell of a line that has waiting tickets and no bell.
--
-- KEYS     1 line   2 bell
-- ARGV     1 life of the bell in ms
-- Returns  1: the caller enqueues one admission job; 0: nobody waits, or somebody has rung already

if redis.call('ZCARD', KEYS[1]) == 0 then return 0 end
if redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[1]) then return 1 end
return 0
