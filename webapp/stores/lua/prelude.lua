-- The functions of every script: the loader puts them in front of each.

-- Returns the time of this server in ms since 1970: the only clock.
local function clock_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Returns the name of this run of the server; it changes with every start.
local function this_run()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end

-- Returns a whole number as text, in full: tostring would round a large one to 14 digits.
local function whole(number)
  return string.format('%.0f', number)
end

