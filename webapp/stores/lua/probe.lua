-- Write one key, to see whether Redis takes the writes of a click.
--
-- KEYS     1 probe
-- ARGV     1 life of the key in ms
-- Returns  {ok}; a server that is read only, full or cannot save answers with an error instead
--
-- A repeat changes nothing but how long the key lives.

return redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
