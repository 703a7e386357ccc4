-- Put a ticket that Redis lost back at its old number, on the word of a receipt whose signature the caller has checked.
--
-- KEYS     1 gate   2 line   3 standby   4 results
-- ARGV     1 user id   2 number   3 epoch of the receipt   4 ms that admission goes on waiting for the next receipt
-- Returns  {answer, epoch, number, ahead, result}, as read_standing.lua; NO_TICKET when the place cannot be given back;
--          NO_GATE also when the gate is older than this life of the server, or knows less than the receipt
--
-- Whoever has a ticket or a result keeps it: a receipt is worth nothing once it was decided. A number is given back only
-- if the counter can never give it again, and nobody holds it. Once sold out, the place is one in standby. Where
-- admission still waits for receipts, it waits for the next one too, within the bounds of the gate's grace_end.
--
-- A receipt that is ahead of the counter says that Redis lost data. The gate learns what the receipt knows, and is not
-- trusted any more: the next epoch begins above it.

local gate, line, standby, results = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local user, number, receipt_epoch, next_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local NO_GATE, WAITING, DECIDED, STANDBY, NO_TICKET = 0, 1, 2, 3, 7

local known = redis.call('HMGET', gate, 'epoch', 'last', 'floor', 'sold_out', 'grace_until', 'grace_end', 'run_id')
if not known[1] or known[7] ~= string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') then
  return {NO_GATE, 0, 0, 0, ''}
end
local epoch, last = tonumber(known[1]), tonumber(known[2])

local result = redis.call('HGET', results, user)
if result then return {DECIDED, epoch, 0, 0, result} end
local held = redis.call('ZSCORE', line, user)
if held then return {WAITING, epoch, tonumber(held), redis.call('ZRANK', line, user), ''} end
held = redis.call('ZSCORE', standby, user)
if held then return {STANDBY, epoch, tonumber(held), redis.call('ZRANK', standby, user), ''} end

if receipt_epoch > epoch or (receipt_epoch == epoch and number > last) then
  redis.call('HSET', gate, 'epoch', ARGV[3], 'heard', ARGV[2])
  redis.call('HDEL', gate, 'run_id')
  return {NO_GATE, 0, 0, 0, ''}
end
local highest = receipt_epoch == epoch and last or tonumber(known[3])
if number > highest then return {NO_TICKET, epoch, 0, 0, ''} end
for _, queue in ipairs({line, standby}) do
  if redis.call('ZCOUNT', queue, ARGV[2], ARGV[2]) > 0 then return {NO_TICKET, epoch, 0, 0, ''} end
end
if known[4] == '1' then
  redis.call('ZADD', standby, ARGV[2], user)
  return {STANDBY, epoch, number, redis.call('ZRANK', standby, user), ''}
end
redis.call('ZADD', line, ARGV[2], user)
local time, grace_until = redis.call('TIME'), tonumber(known[5])
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if now_ms < grace_until then
  local until_ms = math.max(grace_until, math.min(now_ms + next_ms, tonumber(known[6] or known[5])))
  redis.call('HSET', gate, 'grace_until', string.format('%.0f', until_ms))
end
return {WAITING, epoch, number, redis.call('ZRANK', line, user), ''}
