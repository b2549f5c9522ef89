-- Does what operators ask for. ARGV: 4 of base; verb, outcome, worker, IDs...
-- Returns how many tasks it concerned; a minus before it if there are more of them.
local old = answered()
if old then return old end
unbounded()
if due and due <= ms then promote() end
prune()
local verb, outcome, worker = ARGV[5], ARGV[6], ARGV[7]
local CHUNK, more = 200, false

local function given()
  local ids = {}
  for i = 8, #ARGV do ids[#ids + 1] = ARGV[i] end
  return ids
end

-- stop cancels one task.
local function stop(id)
  local rec = call('HGET', K .. 'tasks', id)
  local h, label, at = open(rec)
  if not h or byte(rec) == 120 then return 0 end
  if byte(rec) == 114 then
    call('HSET', K .. 'unwanted', id, outcome)
    call('HSET', K .. 'tasks', id, change(rec, h, at, with(h.flags, 'u')))
    call('XADD', K .. 'ctl', 'MAXLEN', '~', 10000, '*', 'c', id)
    call('PEXPIRE', K .. 'ctl', 2 * HOUR)
    return 1
  end
  unplace(id, rec, h)
  finish(id, rec, h, label, at, { state = '7', outcome = outcome, worker = '', token = '0', code = '0' })
  return 1
end

-- sweep takes the marks out of all lanes, once there are more of them than of those that wait.
local function sweep()
  local marks = call('HLEN', K .. 'gone')
  if marks < 1000 or marks < waiting then return end
  local lanes = {}
  for _, l in ipairs(call('HVALS', K .. 'gone')) do lanes[l] = true end
  for l in pairs(lanes) do
    local key, kept = K .. 'l:' .. l, K .. 'sweep'
    call('DEL', kept)
    local size = call('LLEN', key)
    for at = 0, size - 1, 1000 do
      local ids = call('LRANGE', key, at, at + 999)
      local stays, marked = {}, call('HMGET', K .. 'gone', unpack(ids))
      for i, id in ipairs(ids) do
        if not marked[i] then stays[#stays + 1] = id end
      end
      if #stays > 0 then call('RPUSH', kept, unpack(stays)) end
    end
    call('DEL', key)
    if call('EXISTS', kept) == 1 then call('RENAME', kept, key) end
    local priority, group = string.match(l, '^(%d):(.*)$')
    unlist(priority, group)
  end
  call('DEL', K .. 'gone')
end

-- forget drops what is kept of a task that has ended.
local function forget(id)
  local o = call('GET', K .. 'o:' .. id)
  if not o then return 0 end
  local rec = call('HGET', K .. 'tasks', id)
  local h, label, at = open(rec)
  if h then
    if has(h, 'g') then call('HDEL', K .. 'progress', id) end
    if has(h, 'u') then call('HDEL', K .. 'unwanted', id) end
    eachBlob(rec, label, h, unref)
  end
  for _, hash in ipairs(call('LRANGE', K .. 'y:' .. id, 0, -1)) do unref(hash) end
  call('HDEL', K .. 'tasks', id)
  call('ZREM', K .. 'e:' .. sub(o, 1, 1), id)
  call('ZREM', K .. 'forget', sub(o, 1, 1) .. id)
  call('DEL', K .. 'o:' .. id, K .. 't:' .. id, K .. 'p:' .. id, K .. 'y:' .. id)
  return 1
end

-- requeue has a dead task wait again.
local function requeue(id)
  local rec = call('HGET', K .. 'tasks', id)
  local h, label, at = open(rec)
  if not h or byte(rec) ~= 120 then return 0 end
  local token, code, notes = string.match(call('GET', K .. 'o:' .. id) or '', '^%S+ %d+ %d+ %d+ %d+ %d (%d+) (%d) %d+ =%S* =%S* (%S+)\n')
  if token then call('HSET', K .. 'notes', id, (notes == '-' and '' or notes) .. token .. ':' .. code .. ',') end
  for _, hash in ipairs(call('LRANGE', K .. 'y:' .. id, 0, -1)) do unref(hash) end
  call('DEL', K .. 'o:' .. id, K .. 'p:' .. id, K .. 'y:' .. id)
  local last = call('XREVRANGE', K .. 't:' .. id, '+', '-', 'COUNT', 1)[1]
  if last and last[2][1] == 'e' then call('XDEL', K .. 't:' .. id, last[1]) end
  call('HDEL', K .. 'progress', id)
  call('HDEL', K .. 'unwanted', id)
  call('ZREM', K .. 'e:6', id)
  local flags = has(h, 'l') and '-lt' or '-t'
  rec = life('w', h, h.token, 0, '0', flags, '', born(rec, h, at)) .. digits(tick(1)) .. sub(rec, at + 16)
  call('HSET', K .. 'tasks', id, rec)
  unmark(id)
  enlist(h.priority, h.group)
  call('RPUSH', K .. 'l:' .. lane(h), id)
  waiting = waiting + 1
  return 1
end

local function each(ids, f)
  local n = 0
  for _, id in ipairs(ids) do n = n + f(id) end
  return n
end

-- dead lists some of those that are dead.
local function dead()
  local ids = call('ZRANGE', K .. 'e:6', 0, CHUNK - 1)
  more = #ids == CHUNK
  for _, id in ipairs(ids) do
    if call('EXISTS', K .. 'o:' .. id) == 0 then call('ZREM', K .. 'e:6', id) end
  end
  return ids
end

-- pending lists some of those that wait or are delayed, and cleans lanes of marks.
local function pending()
  local ids = call('ZRANGE', K .. 'delayed', 0, CHUNK - 1)
  for _, priority in ipairs({ '2', '1', '0' }) do
    for _, group in ipairs(call('LRANGE', K .. 'turn:' .. priority, 0, -1)) do
      if #ids >= CHUNK then break end
      local l = priority .. ':' .. group
      for _, id in ipairs(call('ZRANGE', K .. 'back:' .. l, 0, CHUNK - 1)) do ids[#ids + 1] = id end
      for _, id in ipairs(call('LRANGE', K .. 'l:' .. l, 0, CHUNK - 1)) do
        if call('HDEL', K .. 'gone', id) == 1 or call('HEXISTS', K .. 'tasks', id) == 0 then call('LREM', K .. 'l:' .. l, 1, id) else ids[#ids + 1] = id end
      end
      unlist(priority, group)
    end
  end
  more = #ids >= CHUNK
  return ids
end

local count = 0
if verb == 'cancel' then
  count = each(given(), stop)
  sweep()
elseif verb == 'requeue' then
  count = each(#ARGV > 7 and given() or dead(), requeue)
elseif verb == 'drop' then
  count = each(#ARGV > 7 and given() or dead(), forget)
elseif verb == 'purge' then
  count = each(pending(), stop)
elseif verb == 'pause' then
  call('HSET', K .. 'meta', 'paused', '1')
elseif verb == 'resume' then
  call('HDEL', K .. 'meta', 'paused')
  bell = true
elseif verb == 'leave' then
  call('ZREM', K .. 'w', worker)
end
flushLeft()
flushTold()
save()
return answer((more and count > 0 and '-' or '') .. digits(count))
