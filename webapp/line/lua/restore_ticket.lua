-- Restore a ticket that Redis lost at its old number, for a receipt whose signature the caller has checked.
--
-- KEYS     1 gate   2 line   3 standby   4 results   5 late
-- ARGV     1 user id   2 number   3 epoch of the receipt
-- Returns  {answer, epoch, number, ahead, result, serving, grace_ms}, the first five as read_standing.lua; NO_TICKET
--          when the number cannot be given; NO_GATE also when no epoch is open in this run of the server, or the gate
--          knows less than the receipt; serving: the highest number decided; grace_ms: for a ticket that this
--          call restored, how long admission waits for receipts, from the opening of the epoch; 0 once that is over
--
-- A user who has a result keeps it: a receipt is worth nothing once its ticket was decided. A user who has a ticket
-- keeps it too, or moves down to a lower number of the receipt. The number that is given up stays in the queue as
-- "<user>:<number>", until the admission writes down why nobody has it; a batch that decides it meanwhile does so.
-- A number is restored only if the counter can never give it again, and nobody has it. When the coupons are gone, the
-- ticket goes to standby. A ticket that comes after the wait for receipts is noted as late: higher numbers may have won
-- before.
--
-- A receipt that is ahead of the counter proves that Redis lost data. The gate keeps the number of the receipt and the
-- epoch ends, so that the next epoch begins above it. A repeat changes nothing.

local gate, line, standby, results, late = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local user, number, receipt_epoch = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local NO_GATE, WAITING, DECIDED, STANDBY, NO_TICKET = 0, 1, 2, 3, 7

local known = redis.call('HMGET', gate, 'epoch', 'last', 'floor', 'sold_out', 'run_id', 'serving')
if not known[1] or known[5] ~= RUN then
  return {NO_GATE, 0, 0, 0, '', 0, 0}
end
local epoch, last, floor, sold_out = tonumber(known[1]), tonumber(known[2]), tonumber(known[3]), known[4] == '1'

local function place()
  for _, each in ipairs({{WAITING, line}, {STANDBY, standby}}) do
    local answer, queue = each[1], each[2]
    local has = redis.call('ZSCORE', queue, user)
    if has then return {answer, epoch, tonumber(has), redis.call('ZRANK', queue, user), '', 0, 0}, queue end
  end
  return {NO_TICKET, epoch, 0, 0, '', 0, 0}
end

local result = redis.call('HGET', results, user)
if result then return {DECIDED, epoch, 0, 0, result, 0, 0} end
local held, queue = place()
if queue and held[3] <= number then return held end

if not queue and (receipt_epoch > epoch or (receipt_epoch == epoch and number > last)) then
  redis.call('HSET', gate, 'epoch', ARGV[3], 'heard', ARGV[2])
  redis.call('HDEL', gate, 'run_id')
  return {NO_GATE, 0, 0, 0, '', 0, 0}
end
-- The counter gives no number up to `last` again. Above the floor, the numbers of this epoch belong to others than the
-- receipts of an earlier one.
if number > (receipt_epoch == epoch and last or floor) then return held end
for _, each in ipairs({line, standby}) do
  if redis.call('ZCOUNT', each, ARGV[2], ARGV[2]) > 0 then return held end
end

if queue then
  local given_up = whole(held[3])
  redis.call('ZADD', queue, given_up, user .. ':' .. given_up)
end
queue = queue or (sold_out and standby or line)
redis.call('ZADD', queue, ARGV[2], user)
local wait_ms = awaits_receipts(gate)
if not wait_ms then redis.call('ZADD', late, ARGV[2], user) end
local restored = place()
restored[6], restored[7] = tonumber(known[6]), wait_ms or 0
return restored
