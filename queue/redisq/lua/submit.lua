-- Stores runs of tasks that have priority, group and delay in common.
-- ARGV: 4 of base; then runs: n, priority, group, delay (ms), whether
-- IDs may be known, whether they need blobs; n times ID, record from what follows its number.
local old = answered()
if old then return old end
bounded()
if due and due <= ms then promote() end

local known, mine, at = {}, {}, 5

-- knows tells whether the queue knows the ID. If not, nothing of an earlier task is left.
local function knows(id)
  if mine[id] or call('HEXISTS', K .. 'tasks', id) == 1 or call('EXISTS', K .. 'o:' .. id) == 1 then return true end
  mine[id] = true
  unmark(id)
  call('DEL', K .. 't:' .. id, K .. 'p:' .. id)
  return false
end

local function run(n, priority, group, delay, keyed, blobs)
  local number, begin = numbers(tick(n), n), delay > 0 and 'd\n' or 'w\n'
  local ids, fields, new = {}, {}, 0
  for i = 1, n do
    local id = ARGV[at]
    if keyed and knows(id) then
      known[#known + 1] = '1'
    else
      if keyed then known[#known + 1] = '0' end
      new = new + 1
      local rec = begin .. number[i] .. ARGV[at + 1]
      ids[new], fields[2 * new - 1], fields[2 * new] = id, id, rec
      if blobs then
        local h, label = open(rec)
        eachBlob(rec, label, h, ref)
      end
    end
    at = at + 2
  end
  if not keyed then known[#known + 1] = string.rep('0', n) end
  if new == 0 then return end
  call('HSET', K .. 'tasks', unpack(fields))
  if delay > 0 then
    for i, id in ipairs(ids) do
      wakeAt(ms + delay, 'd' .. id)
      call('ZADD', K .. 'delayed', sub(fields[2 * i], 3, 18), id)
    end
    delayed = delayed + new
  else
    enlist(priority, group)
    call('RPUSH', K .. 'l:' .. priority .. ':' .. group, unpack(ids))
    waiting = waiting + new
  end
end

while at <= #ARGV do
  local n, priority, group, delay = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local keyed, blobs = ARGV[at + 4] == '1', ARGV[at + 5] == '1'
  at = at + 6
  run(n, priority, group, delay, keyed, blobs)
end
save()
return answer(concat(known))
