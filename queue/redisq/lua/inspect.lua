-- Reports. ARGV: 4 of base; 'ids' and IDs; or 'state', state, after, limit; or 'stats'.
if due and due <= ms then
  promote()
  save()
end
prune()

-- task returns ID, record, what is kept of the end, attempts, progress.
local function task(id)
  local rec = call('HGET', K .. 'tasks', id)
  local o = (not rec or byte(rec) == 120) and call('GET', K .. 'o:' .. id)
  if not rec and not o then return { id, '', '', {}, '' } end
  return { id, rec or '', o or '', call('LRANGE', K .. 'p:' .. id, 0, -1), call('HGET', K .. 'progress', id) or '' }
end

local function tasks(ids)
  local list, bytes = {}, 0
  for i, id in ipairs(ids) do
    list[i] = task(id)
    bytes = bytes + #list[i][2] + #list[i][3]
    if bytes > 4194304 then break end
  end
  return list
end

-- lanes calls f with the lanes of tasks that wait.
local function lanes(f)
  for _, priority in ipairs({ '2', '1', '0' }) do
    for _, group in ipairs(call('LRANGE', K .. 'turn:' .. priority, 0, -1)) do f(priority .. ':' .. group) end
  end
end

-- since is when a task came to wait, in µs, or nil if it does not wait any more.
local function since(id)
  local rec = call('HGET', K .. 'tasks', id)
  local at = rec and byte(rec) == 119 and find(rec, '\n', 1, true)
  return at and tonumber(sub(rec, at + 1, at + 16)) or nil
end

-- after adds tasks of one lane that came after a time, as many as are wanted: the
-- lane is sorted, so the place is found by halving; those that were canceled have no time.
local function after(l, time, limit, found)
  local key = K .. 'l:' .. l
  local low, high = 0, call('LLEN', key)
  while time > 0 and low < high do
    local middle = math.floor((low + high) / 2)
    local at, seen = middle, nil
    while at < high and not seen do
      seen = since(call('LINDEX', key, at))
      at = at + 1
    end
    if seen and seen <= time then low = at else high = middle end
  end
  local n = 0
  while n < limit do
    local some = call('LRANGE', key, low, low + 99)
    if #some == 0 then break end
    low = low + #some
    for _, id in ipairs(some) do
      local at = since(id)
      if at and at > time then
        found[#found + 1] = { at, id }
        n = n + 1
      end
    end
  end
  for _, id in ipairs(call('ZRANGE', K .. 'back:' .. l, 0, -1)) do
    local at = since(id)
    if at and at > time then found[#found + 1] = { at, id } end
  end
end

-- runs lists those that run, by Take. They are few, compared with those that wait.
local function runs(time, found)
  for _, token in ipairs(call('HKEYS', K .. 'takes')) do
    for place, id in ipairs(call('LRANGE', K .. 'k:' .. token, 0, -1)) do
      local rec = call('HGET', K .. 'tasks', id)
      local h = rec and byte(rec) == 114 and open(rec)
      local at = h and h.token == token and tonumber(token) + place
      if at and at > time then found[#found + 1] = { at, id } end
    end
  end
end

-- sorted lists members of a set of IDs by time.
local function sorted(key, time, limit, found)
  local list = call('ZRANGEBYSCORE', key, '(' .. digits(time), '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
  for i = 1, #list, 2 do found[#found + 1] = { tonumber(list[i + 1]), list[i] } end
end

local function page(state, from, limit)
  local time, found = tonumber(from) or 0, {}
  if state == '1' then
    sorted(K .. 'delayed', time, limit, found)
  elseif state == '2' then
    lanes(function(l) after(l, time, limit, found) end)
  elseif state == '3' then
    runs(time, found)
  else
    sorted(K .. 'e:' .. state, time, limit, found)
  end
  table.sort(found, function(a, b) return a[1] < b[1] or a[1] == b[1] and a[2] < b[2] end)
  local ids, following = {}, #found >= limit
  for i = 1, math.min(limit, #found) do ids[i] = found[i][2] end
  local list = tasks(ids)
  if #list < #ids then following = true end
  local last = found[#list]
  return { list, following and last and digits(last[1]) or '' }
end

-- oldest is since when the first of those that wait has waited, in µs.
local function oldest()
  local first = 0
  lanes(function(l)
    local found = {}
    after(l, 0, 1, found)
    for _, f in ipairs(found) do
      if first == 0 or f[1] < first then first = f[1] end
    end
  end)
  return first == 0 and '0' or digits(math.max(0, now - first))
end

local function stats()
  local ends = call('HMGET', K .. 'meta', '4', '5', '7')
  local workers = {}
  for _, w in ipairs(call('ZRANGEBYSCORE', K .. 'w', digits(ms), '+inf')) do
    workers[#workers + 1] = w
    workers[#workers + 1] = call('HGET', K .. 'busy', w) or '0'
  end
  return { { digits(waiting), digits(delayed), digits(running), digits(call('ZCARD', K .. 'e:6')), ends[1] or '0', ends[2] or '0',
    ends[3] or '0', oldest(), paused and '1' or '0' }, workers }
end

if ARGV[5] == 'ids' then
  local ids = {}
  for i = 6, #ARGV do ids[#ids + 1] = ARGV[i] end
  return { tasks(ids), '' }
end
if ARGV[5] == 'state' then return page(ARGV[6], ARGV[7], tonumber(ARGV[8])) end
return stats()
