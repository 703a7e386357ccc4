-- The functions of every script: the loader puts them in front of each.

-- Returns the time of this server in ms since 1970: the only clock.
local function clock_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The name of this run of the server, which changes with every start. Its connection was told once, and does not outlive
-- the server: each caller says it behind the arguments of the script.
local RUN = table.remove(ARGV)

-- Returns a whole number as text, in full: tostring would round a large one to 14 digits.
local function whole(number)
  return string.format('%.0f', number)
end

-- Returns whether this server has taken nine tenths of the memory that it may take. The rest is for what settles, closes
-- and publishes.
local function is_nearly_full()
  local memory = redis.call('INFO', 'memory')
  local function bytes(pattern) return tonumber(string.match(memory, pattern) or 0) end
  local most = bytes('maxmemory:(%d+)')
  return most > 0 and bytes('used_memory:(%d+)') - bytes('mem_not_counted_for_evict:(%d+)') > 0.9 * most
end

-- Returns whether this server has become a replica, so that its data may be old.
local function is_replica()
  return string.find(redis.call('INFO', 'replication'), 'role:slave', 1, true) ~= nil
end

