-- Set malformed data aside: keys of another type, a bell that never expires, a gate that cannot be read.
--
-- KEYS     1 gate   2 line   3 standby   4 results   5 bell   6 arrivals   7 malformed   8 late   9 members
--          10 elsewhere   11 turnout   12 refused   13 shown
-- ARGV     1 how many texts the key malformed keeps
-- Returns  how many things were set aside; each leaves a text in malformed, the newest first
--
-- A malformed gate is deleted, and the next caller begins a new epoch. This script does not check the members of the
-- line, because they may be many: their readers do. A repeat changes nothing.

local gate, bell, malformed = KEYS[1], KEYS[5], KEYS[7]
local TYPES = {'hash', 'zset', 'zset', 'hash', 'string', 'zset', 'list', 'zset', 'string', 'string',
  'hash', 'hash', 'hash'}
local NUMBERS = {'revision', 'issued', 'opens_at', 'closes_at', 'epoch', 'serving', 'floor', 'last'}
local MAYBE_NUMBERS = {'sold_out_at', 'grace_until', 'grace_from', 'arrived', 'heard', 'first_opens_at', 'last_closes_at',
  'mark'}
local STATUSES = {live = true, paused = true, closed = true, draft = true}

local found = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= TYPES[i] then
    redis.call('DEL', key)
    table.insert(found, key .. ' was a ' .. kind)
  end
end
if redis.call('PTTL', bell) == -1 then
  redis.call('DEL', bell)
  table.insert(found, bell .. ' had no end')
end

local flat, fields = redis.call('HGETALL', gate), {}
for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
local unreadable = {}
local function must(name, readable)
  if not readable then table.insert(unreadable, name .. '=' .. tostring(fields[name])) end
end
local function is_number(text) return #text <= 16 and string.match(text, '^%-?%d+$') ~= nil end
if #flat > 0 then
  for _, name in ipairs(NUMBERS) do must(name, fields[name] and is_number(fields[name])) end
  for _, name in ipairs(MAYBE_NUMBERS) do must(name, not fields[name] or is_number(fields[name])) end
  must('quota', fields.quota and (fields.quota == '' or is_number(fields.quota)))
  must('sold_out', fields.sold_out == '0' or fields.sold_out == '1')
  must('status', fields.status and STATUSES[fields.status])
  -- open_epoch.lua writes grace_until together with run_id.
  must('grace_until', fields.grace_until or not fields.run_id)
end
if #unreadable > 0 then
  redis.call('DEL', gate)
  table.insert(found, gate .. ' said ' .. string.sub(table.concat(unreadable, ' '), 1, 400))
end

for _, text in ipairs(found) do redis.call('LPUSH', malformed, text) end
if #found > 0 then redis.call('LTRIM', malformed, 0, ARGV[1] - 1) end
return #found
