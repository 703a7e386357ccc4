-- Stands in front of every script in the simulation: TIME and the life of a bell are the simulation's.
-- A bell's value is the ms at which it ends, by the simulated clock of Redis.

local server = redis
local redis = {}

local function simulated_ms()
  local time = server.call('HMGET', 'simulated{coupon:1}', 's', 'us')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

function redis.call(command, key, ...)
  if command == 'TIME' then return server.call('HMGET', 'simulated{coupon:1}', 's', 'us') end
  if key and string.sub(key, -5) == ':bell' then
    if command == 'PTTL' then
      local ends = server.call('GET', key)
      return ends and ends - simulated_ms() or -2
    end
    if command == 'SET' then
      local options = {...}
      local life_ms = table.remove(options)
      table.remove(options)
      options[1] = string.format('%.0f', simulated_ms() + life_ms)
      return server.call('SET', key, unpack(options))
    end
  end
  return server.call(command, key, ...)
end

