-- EVAL fill.lua 2 cache:<tenant> cache-state:<tenant> <entity> <value> <generation>
-- <generation> is what HGET cache-state:<tenant> generation told before the value was read; empty for nothing.
-- 1 when the entry was made, 0 when something was invalidated meanwhile: the caller uses its value and keeps nothing.
if (redis.call('HGET', KEYS[2], 'generation') or '') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
