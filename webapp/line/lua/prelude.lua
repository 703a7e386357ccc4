-- The functions of the scripts of a line: the loader puts them in front of each.

local KEPT_MS = 30 * 24 * 3600 * 1000
local POLICY = {'revision', 'status', 'quota', 'issued', 'opens_at', 'closes_at', 'sold_out', 'standby_limit', 'audience',
  'pause'}
local MARK_BYTES = 32

-- Makes standby the line again. Its numbers are lower than all later ones, so it is first in line by itself.
local function bring_standby_back(line, standby)
  if redis.call('EXISTS', standby) == 0 then return end
  if redis.call('EXISTS', line) == 0 then
    redis.call('RENAME', standby, line)
  else
    redis.call('ZUNIONSTORE', line, 2, line, standby, 'AGGREGATE', 'MIN')
    redis.call('DEL', standby)
  end
end

-- Keeps the first start and the last end that the gate ever had: by them the audit judges arrivals.
local function widen_period(gate, opens_at, closes_at)
  local known = redis.call('HMGET', gate, 'opens_at', 'closes_at', 'first_opens_at', 'last_closes_at')
  redis.call('HSET', gate,
    'first_opens_at', whole(math.min(opens_at, known[1] or opens_at, known[3] or opens_at)),
    'last_closes_at', whole(math.max(closes_at, known[2] or closes_at, known[4] or closes_at)))
end

-- Adds to a reply what it says of one user.
local function tell(reply, answer, number, ahead, result)
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] = answer, number, ahead, result
end

-- Returns whether what Redis keeps of a coupon for 30 days after its end has gone.
local function results_gone(closes_at, now_ms)
  return now_ms >= tonumber(closes_at) + KEPT_MS
end

-- Has a key leave Redis 30 days after the end.
local function keep_until_after(closes_at, key)
  redis.call('PEXPIREAT', key, whole(tonumber(closes_at) + KEPT_MS))
end

-- Returns the mark in front of bits that are of this epoch, and of this version of what they tell.
local function bits_mark(epoch, version)
  return string.format('%-' .. MARK_BYTES .. 's', epoch .. ':' .. version)
end

-- Copies a row of the coupon to its gate: ARGV 1 to 10, in the order of POLICY. Nothing else opens a gate that was sold
-- out, so standby always comes back before anybody new. Results and arrivals leave Redis 30 days after the end; an end
-- that is moved to later than that ends the epoch, and the next one brings the results back from SQL. Only what differs
-- is written.
local function write_policy(gate, line, standby, results, arrivals)
  local known, news = redis.call('HMGET', gate, unpack(POLICY)), {}
  for i, name in ipairs(POLICY) do
    if known[i] ~= ARGV[i] then
      table.insert(news, name)
      table.insert(news, ARGV[i])
    end
  end
  if known[5] ~= ARGV[5] or known[6] ~= ARGV[6] then widen_period(gate, ARGV[5], ARGV[6]) end
  if #news > 0 then redis.call('HSET', gate, unpack(news)) end

  local was, is = known[7], ARGV[7]
  if is == '0' then
    redis.call('HDEL', gate, 'sold_out_at')
    bring_standby_back(line, standby)
  elseif was == '0' then
    redis.call('HSET', gate, 'sold_out_at', whole(clock_ms()))
  end

  local closed_at, closes_at, now_ms = known[6], ARGV[6], clock_ms()
  for _, key in ipairs({results, arrivals}) do
    if closed_at ~= closes_at or redis.call('PTTL', key) == -1 then
      keep_until_after(closes_at, key)
    end
  end
  if closed_at and results_gone(closed_at, now_ms) and not results_gone(closes_at, now_ms) then
    redis.call('HDEL', gate, 'run_id')
  end
end

-- Returns for how many ms in all admission waits for receipts, while it does; else nil. By a clock that was put back to
-- before the wait it would go on for ever so long, so it begins anew then. A wait that was found to be over stays over.
local function awaits_receipts(gate)
  local known, now_ms = redis.call('HMGET', gate, 'grace_from', 'grace_until'), clock_ms()
  local from, till = tonumber(known[1]), tonumber(known[2])
  if not from or till == 0 then return nil end
  if now_ms >= till or till == from then
    redis.call('HSET', gate, 'grace_from', 0, 'grace_until', 0)
    return nil
  end
  local wait_ms = till - from
  if now_ms < from then
    redis.call('HSET', gate, 'grace_from', whole(now_ms), 'grace_until', whole(now_ms + wait_ms))
  end
  return wait_ms
end

