-- Restore a ticket that Redis lost at its old number, for a receipt whose signature the caller has checked.
--
-- KEYS     1 gate   2 line   3 standby   4 results
-- ARGV     1 user id   2 number   3 epoch of the receipt   4 ms that admission waits for the next receipt
-- Returns  {answer, epoch, number, ahead, result}, as read_standing.lua; NO_TICKET when the number cannot be given;
--          NO_GATE also when no epoch is open in this run of the server, or the gate knows less than the receipt
--
-- A user who has a ticket or a result keeps it: a receipt is worth nothing once its ticket was decided. A number is
-- restored only if the counter can never give it again, and nobody has it. When the coupons are gone, the ticket goes
-- to standby. While admission waits for receipts, it also waits for the next one, until the gate's grace_end at most.
--
-- A receipt that is ahead of the counter proves that Redis lost data. The gate keeps the number of the receipt and the
-- epoch ends, so that the next epoch begins above it. A repeat changes nothing.

local gate, line, standby, results = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local user, number, receipt_epoch, next_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local NO_GATE, WAITING, DECIDED, STANDBY, NO_TICKET = 0, 1, 2, 3, 7

local known = redis.call('HMGET', gate, 'epoch', 'last', 'floor', 'sold_out', 'grace_until', 'grace_end', 'run_id', 'grace_from')
if not known[1] or known[7] ~= this_run() then
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
-- The counter gives no number up to `last` again. Above the floor, the numbers of this epoch belong to others than the
-- receipts of an earlier one.
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
local now_ms, grace_until = clock_ms(), tonumber(known[5])
if awaits_receipts(now_ms, known[8], grace_until) then
  local until_ms = math.max(grace_until, math.min(now_ms + next_ms, tonumber(known[6] or known[5])))
  redis.call('HSET', gate, 'grace_until', whole(until_ms))
end
return {WAITING, epoch, number, redis.call('ZRANK', line, user), ''}
