-- Restore a ticket that Redis lost at its old number, for a receipt whose signature the caller has checked.
--
-- KEYS     1 gate   2 line   3 standby   4 results   5 late
-- ARGV     1 user id   2 number   3 epoch of the receipt
-- Returns  {answer, epoch, number, ahead, result, serving, grace_ms}, the first five as read_standing.lua; NO_TICKET
--          when the number cannot be given; NO_GATE also when no epoch is open in this run of the server, or the gate
--          knows less than the receipt; serving: the highest number decided; grace_ms: for a ticket that this
--          call restored, how long admission waits for receipts, from the opening of the epoch; 0 once that is over
--
-- A user who has a ticket or a result keeps it: a receipt is worth nothing once its ticket was decided. A number is
-- restored only if the counter can never give it again, and nobody has it. When the coupons are gone, the ticket goes
-- to standby. A ticket that comes after the wait for receipts is noted as late: higher numbers may have won before.
--
-- A receipt that is ahead of the counter proves that Redis lost data. The gate keeps the number of the receipt and the
-- epoch ends, so that the next epoch begins above it. A repeat changes nothing.

local gate, line, standby, results, late = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local user, number, receipt_epoch = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local NO_GATE, WAITING, DECIDED, STANDBY, NO_TICKET = 0, 1, 2, 3, 7

local known = redis.call('HMGET', gate, 'epoch', 'last', 'floor', 'sold_out', 'run_id', 'serving', 'grace_from',
  'grace_until')
if not known[1] or known[5] ~= this_run() then
  return {NO_GATE, 0, 0, 0, '', 0, 0}
end
local epoch, last = tonumber(known[1]), tonumber(known[2])

local result = redis.call('HGET', results, user)
if result then return {DECIDED, epoch, 0, 0, result, 0, 0} end
local held = redis.call('ZSCORE', line, user)
if held then return {WAITING, epoch, tonumber(held), redis.call('ZRANK', line, user), '', 0, 0} end
held = redis.call('ZSCORE', standby, user)
if held then return {STANDBY, epoch, tonumber(held), redis.call('ZRANK', standby, user), '', 0, 0} end

if receipt_epoch > epoch or (receipt_epoch == epoch and number > last) then
  redis.call('HSET', gate, 'epoch', ARGV[3], 'heard', ARGV[2])
  redis.call('HDEL', gate, 'run_id')
  return {NO_GATE, 0, 0, 0, '', 0, 0}
end
-- The counter gives no number up to `last` again. Above the floor, the numbers of this epoch belong to others than the
-- receipts of an earlier one.
local highest = receipt_epoch == epoch and last or tonumber(known[3])
if number > highest then return {NO_TICKET, epoch, 0, 0, '', 0, 0} end
for _, queue in ipairs({line, standby}) do
  if redis.call('ZCOUNT', queue, ARGV[2], ARGV[2]) > 0 then return {NO_TICKET, epoch, 0, 0, '', 0, 0} end
end
local queue, answer = line, WAITING
if known[4] == '1' then queue, answer = standby, STANDBY end
redis.call('ZADD', queue, ARGV[2], user)
local from, until_ms = known[7], known[8]
local grace_ms = awaits_receipts(clock_ms(), from, until_ms) and until_ms - from or 0
if grace_ms == 0 then redis.call('ZADD', late, ARGV[2], user) end
return {answer, epoch, number, redis.call('ZRANK', queue, user), '', tonumber(known[6]), grace_ms}
