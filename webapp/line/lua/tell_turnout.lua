-- Tell how many pages of a coupon poll one web process, and how many clicks it has refused since it told last.
--
-- KEYS     1 gate   2 turnout   3 refused
-- ARGV     1 name of the process   2 how often it has told, this time included   3 pages that poll   4 polls a second
--          5 how long in ms the word of a process counts; then for each kind of refusal why, clicks
-- Returns  1 told; 0, and nothing is changed, when there is no gate
--
-- A repeat of the same call adds no click twice. The refused clicks leave Redis as the results do. What a process told
-- that is gone is forgotten.

local gate, turnout, refused = KEYS[1], KEYS[2], KEYS[3]
local process, times, fresh_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5])

local closes_at = redis.call('HGET', gate, 'closes_at')
if not tonumber(closes_at) then return 0 end
local now_ms, flat, before = clock_ms(), redis.call('HGETALL', turnout), 0
for i = 1, #flat, 2 do
  local told, at_ms = string.match(flat[i + 1], '^(%d+):(%d+):')
  if not told or math.abs(now_ms - at_ms) > fresh_ms then
    redis.call('HDEL', turnout, flat[i])
  elseif flat[i] == process then
    before = tonumber(told)
  end
end
if before < times then
  for i = 6, #ARGV, 2 do redis.call('HINCRBY', refused, ARGV[i], ARGV[i + 1]) end
end
redis.call('HSET', turnout, process, table.concat({ARGV[2], whole(now_ms), ARGV[3], ARGV[4]}, ':'))
redis.call('PEXPIRE', turnout, fresh_ms)
if redis.call('EXISTS', refused) == 1 then keep_until_after(closes_at, refused) end
return 1
