-- Write one key, to see whether Redis takes the writes of a click.
--
-- KEYS     1 probe
-- ARGV     1 life of the key in ms
-- Returns  {ok}; a server that is read only, full or cannot save answers with an error instead, and so does this script
--          when it is nearly full, as a claim does
--
-- A repeat changes nothing but how long the key lives.

if is_nearly_full() then return redis.error_reply('OOM only the reserve of memory is left') end
return redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
