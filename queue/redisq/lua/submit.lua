-- Stores runs of tasks that have priority, group and delay in common.
-- ARGV: 4 of base; then runs: n, priority, group, delay (ms), keyed; n times ID, record from its header on.
local old = answered()
if old then return old end
if due and due <= ms then promote() end

local D = DIGITS
local known, mine, at = {}, {}, 5

-- knows tells whether the queue knows the ID. One that was canceled may still have a place in
-- a lane, which a new task must not inherit.
local function knows(id, priority, group)
  if mine[id] or call('HEXISTS', K .. 'tasks', id) == 1 or call('EXISTS', K .. 'o:' .. id) == 1 then return true end
  mine[id] = true
  local place = call('HGET', K .. 'gone', id)
  if place then
    call('LREM', K .. 'l:' .. place, 1, id)
    call('HDEL', K .. 'gone', id)
  end
  call('DEL', K .. 't:' .. id, K .. 'p:' .. id)
  return false
end

local function run(n, priority, group, delay, keyed)
  local first = tick(n)
  local high = math.floor(first / 1000)
  local low = first - high * 1000
  local prefix = (delay > 0 and 'd' or 'w') .. digits(high)
  local ids, fields = {}, {}
  for i = 1, n do
    local id, rest = ARGV[at], ARGV[at + 1]
    at = at + 2
    if keyed and knows(id, priority, group) then
      known[#known + 1] = '1'
    else
      known[#known + 1] = '0'
      ids[#ids + 1] = id
      local rec = prefix .. sub(D, 3 * low + 1, 3 * low + 3) .. rest
      fields[#fields + 1] = id
      fields[#fields + 1] = rec
      local nl = find(rec, '\n', 18, true)
      local h = parse(sub(rec, 18, nl - 1))
      if h.blobs > 0 then eachBlob(rec, nl, h, ref) end
    end
    low = low + 1
    if low == 1000 then
      high, low = high + 1, 0
      prefix = sub(prefix, 1, 1) .. digits(high)
    end
  end
  if #ids == 0 then return end
  call('HSET', K .. 'tasks', unpack(fields))
  if delay > 0 then
    for i, id in ipairs(ids) do
      wakeAt(ms + delay, 'd' .. id)
      call('ZADD', K .. 'delayed', sub(fields[2 * i], 2, 17), id)
    end
    delayed = delayed + #ids
  else
    enlist(priority, group)
    call('RPUSH', K .. 'l:' .. priority .. ':' .. group, unpack(ids))
    waiting = waiting + #ids
  end
end

while at <= #ARGV do
  local n, priority, group, delay, keyed = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4] == '1'
  at = at + 5
  run(n, priority, group, delay, keyed)
end
save()
return answer(concat(known))
