-- Write one key of its own, as a click would have to write.
--
-- KEYS     1 probe
-- ARGV     1 life of the key in ms
-- Returns  {ok}; a server that is read only, full or cannot save refuses instead
--
-- A repeat changes nothing but how long the key lives.

return redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
