-- Read the gate, with how many wait and stand by, the clock and the run of the server, all at one instant.
--
-- KEYS     1 gate   2 line   3 standby
-- Returns  {now_ms, name of this run of the server, tickets in line, tickets in standby, {field, value, …}}; no fields
--          when the gate is missing

local gate, line, standby = KEYS[1], KEYS[2], KEYS[3]

local waiting, standing_by = redis.call('ZCARD', line), redis.call('ZCARD', standby)
return {clock_ms(), RUN, waiting, standing_by, redis.call('HGETALL', gate)}
