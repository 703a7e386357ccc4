-- Note when a page first told people what was decided for them. A note that stands stays, so a repeat changes nothing.
--
-- KEYS     1 gate   2 shown
-- ARGV     for each person user id, for how many ms they have known
-- Returns  how many notes are new; 0, and nothing is changed, when no epoch is open in this run of the server, or when
--          the results have left Redis
--
-- The notes stay as long as the results do, and for as long after the last one was made.

local gate, shown = KEYS[1], KEYS[2]

local known, now_ms, new = redis.call('HMGET', gate, 'epoch', 'run_id', 'closes_at'), clock_ms(), 0
if known[2] ~= RUN or results_gone(known[3], now_ms) then return 0 end
for i = 1, #ARGV, 2 do
  new = new + redis.call('HSETNX', shown, ARGV[i], known[1] .. ':' .. whole(now_ms - ARGV[i + 1]))
end
if new > 0 then keep_until_after(math.max(tonumber(known[3]), now_ms), shown) end
return new
