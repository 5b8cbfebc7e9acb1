// The script that appends events of one tenant and moves its position, atomically.
//
// KEYS: the stream, the position hash; of a stream that tenants share also the hash of its
// members: the mark of its birth under the empty name, and the tenants that it has events of.
// ARGV: epoch, incarnation, max length (0: all), sequence that must be there already ("": none), number of events, then
// for each event: xid, part, mark, number of texts of its shape, the shape, its own values. The mark is the identity of
// the cursor, and behind a blank its snapshot when there is one. A shape is field, value, field,
// value ...; empty values are filled with the event's own ones, in that order. With 0 texts the event has the shape of
// the one before it: what the events of a tenant share is sent, and copied inside the server, once a script.
// What a position names that the stream has lost counts as not held, so that it can be sent again. A stream of one
// tenant tells by its last id. Entries of a shared stream have ids by the server's clock; a mark is made with the
// stream, and a position that was written beside another mark has lost its stream. Replies with {added, held already}.
// Errors: FENCED (a newer owner has written), ORDER (the event before is missing).
//
// Numbers are compared as decimal text, since Lua's own numbers lose digits above 2^53.
#pragma once

#include <string_view>

namespace headgate::sinks {

inline constexpr std::string_view kStreamScript = R"lua(
local stream, position, birth_key = KEYS[1], KEYS[2], KEYS[3]
local epoch, incarnation, max_length, required = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function less(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

-- Sequences are filled up with zeros in events, so that they sort as text; not so in those of older versions.
local function plain(number)
  return (string.gsub(number, '^0+(%d)', '%1'))
end

local kept = redis.call('HMGET', position, 'epoch', 'incarnation', 'xid', 'part', 'sequence', 'id')
local kept_epoch = kept[1] or '0'
if epoch ~= '0' and less(epoch, kept_epoch) then
  return redis.error_reply('FENCED epoch ' .. epoch .. ' is older than ' .. kept_epoch)
end
if less(kept_epoch, epoch) then kept_epoch = epoch end
local same = kept[2] == incarnation
local xid, part, sequence, id = kept[3] or '', kept[4] or '', plain(kept[5] or ''), kept[6] or ''
if required ~= '' and less(sequence, required) then
  return redis.error_reply('ORDER sequence ' .. required .. ' is not there yet')
end

local function is_held(x, p, s)
  if not same or less(sequence, s) then return false end
  if x ~= xid then return less(x, xid) end
  return not less(part, p)
end

-- The two numbers of the stream's last id, and its last entry; nothing when there is no stream.
local function end_of_stream()
  if redis.call('EXISTS', stream) == 0 then return nil end
  local info = redis.call('XINFO', 'STREAM', stream)
  local at = {}
  for i = 1, #info, 2 do at[info[i]] = i + 1 end
  local time, count = string.match(info[at['last-generated-id']], '^(%d+)-(%d+)$')
  return time, count, info[at['last-entry']]
end

-- Behind whatever the stream has had: for control events, snapshots and a new incarnation, whose xids may repeat.
local function next_id()
  local time, count = end_of_stream()
  if not time then return '0-1' end
  return time .. '-' .. string.format('%.0f', tonumber(count) + 1)
end

-- Of a shared stream; '' when there is no stream, or one that somebody else has made.
local birth
local function birth_of_stream()
  if not birth then birth = redis.call('EXISTS', stream) == 1 and redis.call('HGET', birth_key, '') or '' end
  return birth
end

-- A position whose entry the stream has lost, or never got, says nothing; then the last entry does.
local function believe_stream()
  if birth_key then
    same = id ~= '' and id == birth_of_stream()
    return
  end
  local time, count, entry = end_of_stream()
  local named_time, named_count = string.match(id, '^(%d+)-(%d+)$')
  if time and named_time and not less(time, named_time) and
     (time ~= named_time or not less(count, named_count)) then return end
  same = false
  if not time or not entry then return end
  xid, part = string.match(entry[1], '^(%d+)-(%d+)$')
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'incarnation' then same = entry[2][i + 1] == incarnation end
    if entry[2][i] == 'sequence' then sequence = plain(entry[2][i + 1]) end
  end
end

-- The fields of an entry, the places in it that each event fills, and the places that the position needs.
local fields, own, place = {}, {}, {}

local function take_shape(first, count)
  fields, own, place = {}, {}, {}
  for i = 1, count do
    local text = ARGV[first + i]
    fields[i] = text
    if i % 2 == 1 then
      place[text] = i + 1
    elseif text == '' then
      own[#own + 1] = i
    end
  end
end

-- Returns the new id, or nothing and the refusal.
local function add(wanted)
  if birth_key and birth_of_stream() == '' then
    local now = redis.call('TIME')
    birth = now[1] .. '-' .. now[2]
    redis.call('DEL', birth_key)
    redis.call('HSET', birth_key, '', birth)
  end
  local reply = redis.pcall('XADD', stream, birth_key and '*' or wanted, unpack(fields))
  if type(reply) == 'table' and reply.err and
     (string.find(reply.err, 'equal or smaller', 1, true) or string.find(reply.err, 'greater than 0-0', 1, true)) then
    wanted = next_id()
    reply = redis.pcall('XADD', stream, wanted, unpack(fields))
  end
  if type(reply) == 'table' and reply.err then return nil, reply end
  return birth_key and birth or wanted
end

local added, held, more, token, mark, failure, believed = 0, 0, '0', '', '', nil, false
local at = 6
for _ = 1, tonumber(ARGV[5]) do
  local x, p, m, shape = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 3
  if shape ~= '0' then
    take_shape(at, tonumber(shape))
    at = at + tonumber(shape)
  end
  for i = 1, #own do fields[own[i]] = ARGV[at + i] end
  at = at + #own + 1
  local s = plain(fields[place.sequence])
  if not believed and is_held(x, p, s) then
    believe_stream()
    believed = true
  end
  if is_held(x, p, s) then
    held = held + 1
  else
    local new_id, refusal = add(x .. '-' .. p)
    if refusal then
      failure = refusal
      break
    end
    if birth_key and id ~= new_id then redis.call('HSET', birth_key, fields[place.partitionkey], '1') end
    added = added + 1
    same, id, xid, part, sequence, mark = true, new_id, x, p, s, m
    more = place.moreparts and '1' or '0'
    token = place.snaptoken and fields[place.snaptoken] or ''
  end
end

if added > 0 then
  local blank = string.find(mark, ' ', 1, true)
  redis.call('HSET', position, 'epoch', kept_epoch, 'incarnation', incarnation, 'xid', xid, 'part', part, 'more_parts',
             more, 'sequence', sequence, 'snap_token', token, 'id', id, 'identity',
             blank and string.sub(mark, 1, blank - 1) or mark, 'snapshot', blank and string.sub(mark, blank + 1) or '')
  if max_length ~= '0' then redis.call('XTRIM', stream, 'MAXLEN', '~', max_length) end
elseif not failure and kept_epoch ~= (kept[1] or '0') then
  redis.call('HSET', position, 'epoch', kept_epoch)
end
if failure then return failure end
return {added, held}
)lua";

// A look at one tenant. KEYS: as above. Replies with the stream's last id (nil: there is no stream), its birth mark and
// the fields of the position. XINFO by itself would send the stream's first and last entries along, which may be large.
inline constexpr std::string_view kLookScript = R"lua(
local last = false
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end
return {last, KEYS[3] and redis.call('HGET', KEYS[3], '') or false,
        unpack(redis.call('HMGET', KEYS[2], 'epoch', 'incarnation', 'xid', 'part', 'more_parts', 'sequence',
                          'snap_token', 'id', 'identity', 'snapshot'))}
)lua";

// A tenant's own stream has lost entries that readers may have: its next id is made greater than theirs, so that
// whoever reads on from such an entry gets the GAP and what is sent again. KEYS: stream, position hash. ARGV: the
// stream's last id and the position's id as they were seen ('' for none), the xid up to which readers may have entries,
// and the fields of the position that the stream still holds, or nothing. Replies with 0 when somebody else has written
// since.
inline constexpr std::string_view kRaiseScript = R"lua(
local stream, position, xid = KEYS[1], KEYS[2], ARGV[3]
local last = ''
if redis.call('EXISTS', stream) == 1 then
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end
if last ~= ARGV[1] or (redis.call('HGET', position, 'id') or '') ~= ARGV[2] then return 0 end
local time, count = string.match(last, '^(%d+)-(%d+)$')
if not time or #time < #xid or (#time == #xid and time < xid) then time, count = xid, '0' end
-- More than any transaction has parts and control events behind them.
local id = time .. '-' .. string.format('%.0f', tonumber(count) + 4294967296)
if last == '' then
  redis.call('XADD', stream, id, 'raised', '')
  redis.call('XDEL', stream, id)
else
  redis.call('XSETID', stream, id)
end
if ARGV[4] then
  redis.call('HSET', position, 'id', id, unpack(ARGV, 4))
else
  redis.call('HDEL', position, 'incarnation', 'xid', 'part', 'more_parts', 'sequence', 'snap_token', 'id', 'identity',
             'snapshot')
end
return 1
)lua";

// A heartbeat behind everything. KEYS: the stream and either the tenant's position hash or, of a shared stream, the key
// of its birth mark. ARGV: "1" for a shared stream, max length, fields and values. It has no place of its own: the
// position moves to its id, so that the stream still ends with what the position names. A tenant without a stream gets
// none.
inline constexpr std::string_view kHeartbeatScript = R"lua(
local stream, shared, max_length = KEYS[1], ARGV[1] == '1', ARGV[2]
local there = redis.call('EXISTS', stream) == 1
local id = '*'
local last
if shared then
  if not there or not redis.call('HGET', KEYS[2], '') then
    local now = redis.call('TIME')
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[2], '', now[1] .. '-' .. now[2])
  end
else
  if not there then return 0 end
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
  local time, count = string.match(last, '^(%d+)-(%d+)$')
  id = time .. '-' .. string.format('%.0f', tonumber(count) + 1)
end
redis.call('XADD', stream, id, unpack(ARGV, 3))
if last and redis.call('HGET', KEYS[2], 'id') == last then redis.call('HSET', KEYS[2], 'id', id) end
if max_length ~= '0' then redis.call('XTRIM', stream, 'MAXLEN', '~', max_length) end
return 1
)lua";

// Puts streams into the index and tells of new ones. KEYS: the index, the stream of its news, the number of shards.
// ARGV: that number (0: a stream for each tenant), the streams' keys. Replies with how many are new. Error: SHARDS when
// tenants were spread over another number of streams.
inline constexpr std::string_view kIndexScript = R"lua(
local index, news, shards = KEYS[1], KEYS[2], ARGV[1]
if shards ~= '0' then
  local before = redis.call('GET', KEYS[3])
  if before and before ~= shards then
    return redis.error_reply('SHARDS the streams were made for shards: ' .. before .. ', and the settings say ' ..
      shards .. '; tenants would change their streams. Keep the number, or choose another prefix')
  end
  if not before then redis.call('SET', KEYS[3], shards) end
end
local made = 0
for i = 2, #ARGV do
  if redis.call('SISMEMBER', index, ARGV[i]) == 0 then
    redis.call('XADD', news, '*', 'stream', ARGV[i])
    redis.call('SADD', index, ARGV[i])
    made = made + 1
  end
end
return made
)lua";

}  // namespace headgate::sinks
