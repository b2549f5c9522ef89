-- What all scripts share. Record and key formats are described in record.go.
local K, call = KEYS[1], redis.call
local sub, find, byte, concat = string.sub, string.find, string.byte, table.concat
local broker, slot, request, again = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]
local ms = math.floor(now / 1000)
local meta = call('HMGET', K .. 'meta', 'seq', 'waiting', 'delayed', 'running', 'paused')
local seq, waiting = tonumber(meta[1]) or 0, tonumber(meta[2]) or 0
local delayed, running = tonumber(meta[3]) or 0, tonumber(meta[4]) or 0
local paused, waitedBefore = meta[5] == '1', waiting
local dueHead = call('ZRANGE', K .. 'due', 0, 0, 'WITHSCORES')
local due = tonumber(dueHead[2])
local bell = false

-- The score of those that come back is smaller by this, so they are before all others.
local BACK = 4000000000000000
local DAY, HOUR = 86400000, 3600000

local function digits(n) return string.format('%.0f', n) end

-- unbounded lets a script that makes room go on when the server has no memory left: it asks
-- about memory only before the first thing that a script writes, and not if that removes something.
local function unbounded() call('HDEL', K .. 'meta', '') end

-- bounded refuses what needs room, before anything is written.
local function bounded() call('HSET', K .. 'meta', 'seq', digits(seq)) end

-- tick reserves n numbers that grow with the clock, and returns the first.
local function tick(n)
  local first = math.max(seq + 1, now)
  seq = first + n - 1
  return first
end

-- numbers writes n numbers from one on, without formatting each.
local D = DIGITS
local function numbers(first, n)
  local list, high = {}, math.floor(first / 1000)
  local low, prefix = first - high * 1000, digits(high)
  for i = 1, n do
    list[i] = prefix .. sub(D, 3 * low + 1, 3 * low + 3)
    low = low + 1
    if low == 1000 then
      high, low = high + 1, 0
      prefix = digits(high)
    end
  end
  return list
end

-- parse reads both parts of a record's header. Those of a batch are mostly the same.
local parsed = {}
local function parse(text)
  local h = parsed[text]
  if h == nil then
    local token, born, attempt, started, flags, worker, retention, priority, label, blobs, client, group = string.match(text,
      '^(%d+) (%d+) (%d+) (%d+) (%S+) =(%S*) (%d+) ([012]) (%d+) (%d+) =(%S*) =(%S*)$')
    h = token and { token = token, born = born, attempt = tonumber(attempt), started = started, flags = flags, worker = worker,
      retention = tonumber(retention), priority = priority, label = tonumber(label), blobs = tonumber(blobs),
      client = client, group = group } or false
    parsed[text] = h
  end
  return h
end

-- open returns the header of a record, where its label begins, and where its number does;
-- nil if it is none.
local function open(rec)
  local first = rec and find(rec, '\n', 1, true)
  local second = first and find(rec, '\n', first + 17, true)
  if not second then return end
  local lived = first == 2 and '0 0 0 0 - =' or sub(rec, 3, first - 1)
  local h = parse(lived .. sub(rec, first + 17, second - 1))
  if h then return h, second + 1, first + 1 end
end

-- life writes the part of a header that changes.
local function life(state, h, token, attempt, started, flags, worker, born)
  return concat({ state, token, born or h.born, attempt, started, flags, '=' .. worker }, ' ') .. '\n'
end

local function has(h, flag) return find(h.flags, flag, 1, true) end
local function with(flags, flag) return find(flags, flag, 1, true) and flags or flags .. flag end
local function without(flags, flag) return (string.gsub(flags, flag, '')) end

-- wakeAt remembers that something is due, and has waiting takers look at it again if
-- it is the first thing that is.
local function wakeAt(at, member)
  call('ZADD', K .. 'due', digits(at), member)
  if not due or at < due then due, bell = at, true end
end

-- born is the number with which a task was submitted.
local function born(rec, h, at) return h.born == '0' and sub(rec, at, at + 15) or h.born end

local function lane(h) return h.priority .. ':' .. h.group end

-- enlist gives a group its turns if it has none.
local function enlist(priority, group)
  local l = priority .. ':' .. group
  if call('EXISTS', K .. 'l:' .. l, K .. 'back:' .. l) == 0 then
    call('RPUSH', K .. 'turn:' .. priority, group)
  end
end

-- stamp gives a task a new number, with which it comes into a new state.
local function stamp(state, rec, h, at, attempt, flags)
  return life(state, h, h.token, attempt, h.started, flags, h.worker, born(rec, h, at)) .. digits(tick(1)) .. sub(rec, at + 16)
end

-- change writes a record with other flags, of a task that goes on as it was.
local function change(rec, h, at, flags)
  return life(sub(rec, 1, 1), h, h.token, h.attempt, h.started, flags, h.worker) .. sub(rec, at)
end

-- comeBack puts a task that was given before, and has just been stamped, into its lane, before
-- those that were not.
local function comeBack(id, rec, h)
  enlist(h.priority, h.group)
  call('HSET', K .. 'tasks', id, rec)
  call('ZADD', K .. 'back:' .. lane(h), digits(seq - BACK), id)
  waiting = waiting + 1
end

-- What leaves a lease is counted, and the leases of a Take are forgotten together.
local left, idle = {}, {}
local function leave(id, h)
  running = running - 1
  left[h.token] = (left[h.token] or 0) + 1
  idle[h.worker] = (idle[h.worker] or 0) + 1
  if has(h, 'o') then call('ZREM', K .. 'due', 'l' .. id) end
end

local function flushLeft()
  for token, n in pairs(left) do
    local there = tonumber(call('HGET', K .. 'takes', token) or '')
    if there and there <= n then
      call('HDEL', K .. 'takes', token)
      call('DEL', K .. 'k:' .. token)
      call('ZREM', K .. 'due', 't' .. token)
    elseif there then
      call('HINCRBY', K .. 'takes', token, -n)
    end
  end
  for worker, n in pairs(idle) do
    if call('HINCRBY', K .. 'busy', worker, -n) <= 0 then call('HDEL', K .. 'busy', worker) end
  end
  left, idle = {}, {}
end

-- Clients are told of a whole batch in one entry, whose ID counts events, so that a topic can
-- be trimmed by events. A field named by a space says what those after it have in common.
local told, ended = {}, { ['4'] = 0, ['5'] = 0, ['7'] = 0 }
local function flushTold()
  for client, t in pairs(told) do
    local at = call('INCRBY', K .. 'n:' .. client, t.events)
    if at == t.events then
      at = now + t.events
      call('SET', K .. 'n:' .. client, digits(at))
    end
    local key = K .. 'c:' .. client
    call('XADD', key, 'MINID', '~', digits(at - 10000), digits(at) .. '-0', unpack(t, 1, t.n))
    call('PEXPIRE', key, 2 * HOUR)
    call('PEXPIRE', K .. 'n:' .. client, 2 * HOUR)
  end
  for state, n in pairs(ended) do
    if n > 0 then call('HINCRBY', K .. 'meta', state, n) end
  end
  told, ended = {}, { ['4'] = 0, ['5'] = 0, ['7'] = 0 }
end

local function tell(client, id, head, outcome)
  if client == '' then return end
  local t = told[client]
  if t and t.n > 4000 then
    flushTold() -- a command has no more than some thousand arguments here
    t = nil
  end
  if not t then
    t = { n = 0, events = 0 }
    told[client] = t
  end
  local n = t.n
  if t.head ~= head then
    t[n + 1], t[n + 2] = ' ', head
    t.head, n = head, n + 2
  end
  t[n + 1], t[n + 2] = id, outcome
  t.n, t.events = n + 2, t.events + 1
end

-- say adds records to a task's topic.
local function say(id, records)
  local args = {}
  for _, r in ipairs(records) do
    args[#args + 1] = 'l'
    args[#args + 1] = r
  end
  call('XADD', K .. 't:' .. id, 'MAXLEN', '~', 10000, '*', unpack(args))
end

-- keepBlob keeps a blob that nobody names for at least so long.
local function keepBlob(hash, keep)
  local key = K .. 'x:' .. hash
  local ttl = call('PTTL', key)
  if ttl >= 0 and ttl < keep then call('PEXPIRE', key, digits(keep)) end
end

local function unref(hash)
  if call('HINCRBY', K .. 'refs', hash, -1) <= 0 then
    call('HDEL', K .. 'refs', hash)
    local keep = call('HGET', K .. 'x:' .. hash, 'keep')
    if keep then call('PEXPIRE', K .. 'x:' .. hash, keep) end
  end
end

local function ref(hash)
  call('HINCRBY', K .. 'refs', hash, 1)
  call('PERSIST', K .. 'x:' .. hash)
end

-- eachBlob calls f with the blobs that a task needs.
local function eachBlob(rec, label, h, f)
  local at = label + h.label
  for i = 1, h.blobs do
    f(sub(rec, at, at + 63))
    at = at + 64
  end
end

-- note remembers how a delivery ended, for settlements that come late or twice.
local function note(id, token, code)
  local notes = (call('HGET', K .. 'notes', id) or '') .. token .. ':' .. code .. ','
  call('HSET', K .. 'notes', id, sub(notes, -1280))
end

-- noted tells whether a delivery ended so.
local function noted(notes, w) return find(',' .. notes, ',' .. w.token .. ':' .. w.code .. ',', 1, true) end

-- forSomebody tells whether somebody follows the topic of a task, and forgets it.
local watched
local function forSomebody(id)
  if watched == nil then watched = call('EXISTS', K .. 'watch') == 1 end
  return watched and call('ZREM', K .. 'watch', id) == 1
end

-- finish gives a task its outcome. e has state (a digit), outcome, worker, token and
-- code of the settlement, log and blobs of it. The caller flushes.
local function finish(id, rec, h, label, at, e)
  local head = e.state .. h.attempt .. ' ' .. e.worker
  tell(h.client, id, head, e.outcome)
  if ended[e.state] then ended[e.state] = ended[e.state] + 1 end
  local notes = has(h, 't') and call('HGET', K .. 'notes', id) or '-'
  if notes ~= '-' then call('HDEL', K .. 'notes', id) end
  local kept = e.state == '6' or h.retention > 0
  local topic, keep = K .. 't:' .. id, math.max(h.retention, 60000)
  if e.log and #e.log > 0 then say(id, e.log) end
  local followed = forSomebody(id)
  if followed or has(h, 'l') or (e.log and #e.log > 0) then
    call('XADD', topic, '*', 'e', head .. '\n' .. e.outcome)
    if e.state == '6' then call('PERSIST', topic) else call('PEXPIRE', topic, digits(keep)) end
  end
  if kept then
    local when = tick(1)
    local o = concat({ e.state .. born(rec, h, at), h.attempt, h.started, digits(math.floor(when / 1000)), digits(h.retention), h.priority, e.token, e.code,
      h.label, '=' .. e.worker, '=' .. h.group, notes }, ' ') .. '\n' .. sub(rec, label, label + h.label - 1) .. e.outcome
    if e.state == '6' then
      call('SET', K .. 'o:' .. id, o)
    else
      call('SET', K .. 'o:' .. id, o, 'PX', digits(h.retention))
      call('ZADD', K .. 'forget', digits(ms + h.retention), e.state .. id)
    end
    call('ZADD', K .. 'e:' .. e.state, digits(when), id)
  end
  for _, hash in ipairs(e.blobs or {}) do
    if e.state == '6' then
      ref(hash)
      call('RPUSH', K .. 'y:' .. id, hash)
    else
      keepBlob(hash, h.retention)
    end
  end
  if e.state == '6' then
    call('HSET', K .. 'tasks', id, life('x', h, h.token, h.attempt, h.started, h.flags, h.worker) .. sub(rec, at))
    return
  end
  if has(h, 'p') then
    if kept then call('PEXPIRE', K .. 'p:' .. id, digits(h.retention)) else call('DEL', K .. 'p:' .. id) end
  end
  if has(h, 'g') then call('HDEL', K .. 'progress', id) end
  if has(h, 'u') then call('HDEL', K .. 'unwanted', id) end
  eachBlob(rec, label, h, unref)
  call('HDEL', K .. 'tasks', id)
end

-- tried adds an attempt to those of a task.
local function tried(id, worker, lost, err)
  local key = K .. 'p:' .. id
  call('RPUSH', key, digits(ms) .. ' ' .. lost .. ' ' .. worker .. '\n' .. err)
  call('LTRIM', key, -32, -1)
end

-- cancel ends a task that was to be canceled.
local function cancel(id, rec, h, label, at, token, code)
  local outcome = call('HGET', K .. 'unwanted', id) or ''
  finish(id, rec, h, label, at, { state = '7', outcome = outcome, worker = '', token = token, code = code })
end

-- lose ends a lease that was not renewed.
local function lose(id, rec, h, label, at)
  leave(id, h)
  tried(id, h.worker, '1', '')
  note(id, h.token, 'x')
  rec = stamp('w', rec, h, at, h.attempt, with(with(without(h.flags, 'o'), 'p'), 't'))
  h, label, at = open(rec)
  if has(h, 'u') then return cancel(id, rec, h, label, at, '0', '0') end
  comeBack(id, rec, h)
end

-- unlist takes the turns of a group whose lane is empty.
local function unlist(priority, group)
  local l = priority .. ':' .. group
  if call('EXISTS', K .. 'l:' .. l, K .. 'back:' .. l) == 0 then call('LREM', K .. 'turn:' .. priority, 0, group) end
end

-- unqueue takes a task out of its lane. In the middle of a list it is only marked, since
-- finding it there may take long.
local function unqueue(id, h)
  local l = lane(h)
  if call('ZREM', K .. 'back:' .. l, id) == 0 then
    local list = K .. 'l:' .. l
    if call('LINDEX', list, 0) == id then
      call('LPOP', list)
    elseif call('LINDEX', list, -1) == id then
      call('RPOP', list)
    else
      call('HSET', K .. 'gone', id, l)
    end
  end
  unlist(h.priority, h.group)
end

-- unmark takes a canceled task out of the list in which it still has a place, which another with the
-- same ID must not inherit.
local function unmark(id)
  local l = call('HGET', K .. 'gone', id)
  if not l then return end
  call('LREM', K .. 'l:' .. l, 1, id)
  call('HDEL', K .. 'gone', id)
  local priority, group = string.match(l, '^(%d):(.*)$')
  if priority then unlist(priority, group) end
end

-- unplace takes a task out of where it is.
local function unplace(id, rec, h)
  local state = byte(rec)
  if state == 114 then
    leave(id, h)
  elseif state == 119 then
    waiting = waiting - 1
    unqueue(id, h)
  elseif state == 100 then
    delayed = delayed - 1
    call('ZREM', K .. 'due', 'd' .. id)
    call('ZREM', K .. 'delayed', id)
  end
end

-- ripen makes a delayed task wait for a worker.
local function ripen(id, rec, h, at)
  call('ZREM', K .. 'delayed', id)
  delayed = delayed - 1
  rec = stamp('w', rec, h, at, h.attempt, h.flags)
  if h.token ~= '0' then return comeBack(id, rec, h) end
  enlist(h.priority, h.group)
  call('HSET', K .. 'tasks', id, rec)
  call('RPUSH', K .. 'l:' .. lane(h), id)
  waiting = waiting + 1
end

-- mature does what is due for one task.
local function mature(kind, id, token)
  local rec = call('HGET', K .. 'tasks', id)
  local h, label, at = open(rec)
  if not h then return end
  local state, own = byte(rec), has(h, 'o')
  if kind == 'd' and state == 100 then
    ripen(id, rec, h, at)
  elseif state == 114 and (kind == 'l' and own or kind == 't' and h.token == token and not own) then
    lose(id, rec, h, label, at)
  end
end

-- promote does what is due: some thousand tasks at a time, the next script goes on. Entries go first, so that
-- a damaged one is met only once.
local function promote()
  local done = 0
  while due and due <= ms and done < 2000 do
    local member = dueHead[1]
    call('ZREM', K .. 'due', member)
    local kind, name = sub(member, 1, 1), sub(member, 2)
    local ids = kind == 't' and call('LRANGE', K .. 'k:' .. name, 0, -1) or { name }
    for _, id in ipairs(ids) do mature(kind, id, name) end
    done = done + #ids + 1
    dueHead = call('ZRANGE', K .. 'due', 0, 0, 'WITHSCORES')
    due = tonumber(dueHead[2])
  end
  flushLeft()
  flushTold()
end

-- prune forgets whose outcome has expired in the lists of those that ended.
local function prune()
  for _, member in ipairs(call('ZRANGEBYSCORE', K .. 'forget', '-inf', digits(ms), 'LIMIT', 0, 500)) do
    call('ZREM', K .. 'forget', member)
    call('ZREM', K .. 'e:' .. sub(member, 1, 1), sub(member, 2))
  end
end

-- save ends a script: it writes the numbers, and wakes those who wait.
local function save()
  call('HSET', K .. 'meta', 'seq', digits(seq), 'waiting', waiting, 'delayed', delayed, 'running', running)
  if (waiting > 0 and waitedBefore == 0 and not paused) or bell then
    call('XADD', K .. 'bell', 'MAXLEN', 1, '*', 'b', '1')
  end
end

-- answered returns what the request was answered with when it came first.
local function answered()
  if again ~= '1' then return end
  local memory = call('HGET', K .. 's:' .. broker, slot)
  if memory and sub(memory, 1, #request + 1) == request .. ' ' then return sub(memory, #request + 2) end
end

-- answer remembers what is answered, for the case that the answer is lost.
local function answer(text)
  call('HSET', K .. 's:' .. broker, slot, request .. ' ' .. text)
  call('PEXPIRE', K .. 's:' .. broker, DAY)
  return text
end
