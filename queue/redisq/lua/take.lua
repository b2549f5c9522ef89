-- Leases tasks. ARGV: 4 of base; worker, max, lease (ms), wait (ms; how long it listens, -1: as long as it said).
-- Returns [ID, record, ...], [[ID, attempts...], ...], damaged IDs, ms until something is due or -1, place in the bell.
local worker, max, lease, wait = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local given, pasts, damaged = {}, {}, {}

-- past adds the attempts of a task that had some.
local function past(id)
  local list = call('LRANGE', K .. 'p:' .. id, 0, -1)
  table.insert(list, 1, id)
  pasts[#pasts + 1] = list
end

-- repeated gives what an earlier request was given and did not hear of.
local function repeated(old)
  local ids = {}
  for id in string.gmatch(old, '%S+') do ids[#ids + 1] = id end
  local token = table.remove(ids, 1)
  for _, id in ipairs(ids) do
    local rec = call('HGET', K .. 'tasks', id)
    local h = open(rec)
    if h and byte(rec) == 114 and h.token == token then
      given[#given + 1] = id
      given[#given + 1] = rec
      if has(h, 'p') then past(id) end
    end
  end
  return { given, pasts, damaged, -1, '0-0' }
end

local old = answered()
if old then return repeated(old) end
unbounded()
if due and due <= ms then promote() end
call('ZREMRANGEBYSCORE', K .. 'w', '-inf', digits(ms - HOUR))
if wait >= 0 then call('ZADD', K .. 'w', 'GT', digits(ms + wait + 15000), worker) end

-- new takes up to n new ones of a lane. Those that were canceled meanwhile must not cost their
-- group its turn.
local marks = call('HLEN', K .. 'gone')
local function new(l, n)
  local list = K .. 'l:' .. l
  if marks == 0 then return call('LPOP', list, n) or {} end
  local ids = {}
  while #ids < n do
    local some = call('LPOP', list, n - #ids)
    if not some then break end
    local marked = call('HMGET', K .. 'gone', unpack(some))
    for i, id in ipairs(some) do
      if marked[i] == l then call('HDEL', K .. 'gone', id) else ids[#ids + 1] = id end
    end
  end
  return ids
end

-- pop takes up to n of a lane, those that have come back first.
local function pop(l, n)
  local ids, back = {}, call('ZPOPMIN', K .. 'back:' .. l, n)
  for i = 1, #back, 2 do ids[#ids + 1] = back[i] end
  if #ids == n then return ids end
  local fresh = new(l, n - #ids)
  if #ids == 0 then return fresh end
  for _, id in ipairs(fresh) do ids[#ids + 1] = id end
  return ids
end

-- round has each group of a priority give as many, up to limit altogether.
local function round(priority, limit)
  local turn = K .. 'turn:' .. priority
  local groups = call('LLEN', turn)
  if groups == 0 then return {} end
  local visits = math.min(groups, limit)
  local each, rows, longest = math.max(1, math.floor(limit / groups)), {}, 0
  for i = 1, visits do
    local group = call('LPOP', turn)
    local l = priority .. ':' .. group
    rows[i] = pop(l, each)
    longest = math.max(longest, #rows[i])
    if call('EXISTS', K .. 'l:' .. l, K .. 'back:' .. l) > 0 then call('RPUSH', turn, group) end
  end
  if visits == 1 then return rows[1] end
  local ids = {}
  for k = 1, longest do
    for i = 1, visits do ids[#ids + 1] = rows[i][k] end
  end
  return ids
end

local first = tick(1)
local token, started = digits(first), digits(math.floor(first / 1000))
local bytes, ids, n = 0, {}, 0
local fresh

-- again returns the beginning of the record of a task that was given before, as it is now.
local function again(rec, id)
  local h, _, at = open(rec)
  if not h then
    damaged[#damaged + 1] = id
    return
  end
  if has(h, 'p') then past(id) end
  return life('r', h, token, h.attempt + 1, started, h.flags, worker), at
end

-- lend makes a waiting task one that runs, if it is still one that waits.
local function lend(id, rec)
  if not rec then return end
  local state, second = byte(rec, 1, 2)
  if state ~= 119 then return end
  local begin, at = fresh, 3
  if second ~= 10 then
    begin, at = again(rec, id)
    if not begin then return end
  end
  rec = begin .. sub(rec, at)
  n = n + 1
  ids[n], given[2 * n - 1], given[2 * n] = id, id, rec
  bytes = bytes + #rec
end

-- fill gives what a priority has, as long as it is not too much altogether. Tasks may be large,
-- so it begins with a few.
local function fill(priority)
  while n < max and bytes < 4194304 do
    local limit = math.min(max - n, bytes == 0 and 16 or bytes < 65536 and 128 or 8)
    local some = round(priority, limit)
    if #some == 0 then return end
    local recs = call('HMGET', K .. 'tasks', unpack(some))
    for i = 1, #some do lend(some[i], recs[i]) end
  end
end

if not paused then
  fresh = concat({ 'r', token, '0', 1, started, '-', '=' .. worker }, ' ') .. '\n'
  for _, priority in ipairs({ '2', '1', '0' }) do fill(priority) end
end
if n > 0 then
  call('HSET', K .. 'tasks', unpack(given))
  call('RPUSH', K .. 'k:' .. token, unpack(ids))
  call('HSET', K .. 'takes', token, n)
  call('HINCRBY', K .. 'busy', worker, n)
  wakeAt(ms + lease, 't' .. token)
  waiting, running = waiting - n, running + n
  tick(n) -- so that they have an order: a running task's number is token and place
  save()
  answer(token .. ' ' .. concat(ids, ' '))
  return { given, pasts, damaged, -1, '0-0' }
end
save()
local last = call('XREVRANGE', K .. 'bell', '+', '-', 'COUNT', 1)[1]
return { given, pasts, damaged, due and math.max(0, due - ms) or -1, last and last[1] or '0-0' }
