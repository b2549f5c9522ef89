-- Ends deliveries. ARGV: 4 of base; worker; then runs: "plain", token, code, n, n times ID and outcome; or
-- "full", ID, token, code, delay, outcome, error, number of logs and of blobs, logs, blobs.
-- Returns a digit for each.
local old = answered()
if old then return old end
unbounded()
if due and due <= ms then promote() end
prune()

local worker = ARGV[5]
local STATES = { ['1'] = '4', ['2'] = '5', ['3'] = '6', ['4'] = '7' }
local ids, datas, whats, n = {}, {}, {}, 0

local function list(at, count)
  local l = {}
  for i = 1, count do l[i] = ARGV[at + i - 1] end
  return l
end

local at = 6
while at <= #ARGV do
  if ARGV[at] == 'plain' then
    local w = { token = ARGV[at + 1], code = ARGV[at + 2], state = STATES[ARGV[at + 2]], plain = true, delay = 0, err = '' }
    local count = tonumber(ARGV[at + 3])
    at = at + 4
    for i = 1, count do
      ids[n + i], datas[n + i], whats[n + i] = ARGV[at], ARGV[at + 1], w
      at = at + 2
    end
    n = n + count
  else
    local logs, blobs = tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
    n = n + 1
    ids[n], datas[n] = ARGV[at + 1], ARGV[at + 5]
    whats[n] = { token = ARGV[at + 2], code = ARGV[at + 3], state = STATES[ARGV[at + 3]], delay = tonumber(ARGV[at + 4]), err = ARGV[at + 6],
      log = list(at + 9, logs), blobs = list(at + 9 + logs, blobs) }
    at = at + 9 + logs + blobs
  end
end

-- endedHold answers for a task that has an outcome: only the settlement that gave it, or one
-- that counted before, was not lost.
local function endedHold(o, w)
  local token, code, notes = string.match(o, '^%S+ %d+ %d+ %d+ %d+ %d (%d+) (%d) %d+ =%S* =%S* (%S+)\n')
  if token == w.token and code == w.code then return '1' end
  return token and noted(notes, w) and '1' or '2'
end

-- giveBack ends a delivery without an outcome.
local function giveBack(id, rec, h, at, w)
  leave(id, h)
  note(id, h.token, w.code)
  local attempt, flags = h.attempt, with(without(h.flags, 'o'), 't')
  if w.log and #w.log > 0 then
    say(id, w.log)
    flags = with(flags, 'l')
  end
  if w.code == '5' then
    tried(id, worker, '0', w.err)
    flags = with(flags, 'p')
  else
    attempt = attempt - 1
  end
  local late = w.delay > 0 and not has(h, 'u')
  rec = stamp(late and 'd' or 'w', rec, h, at, attempt, flags)
  local label
  h, label, at = open(rec)
  if has(h, 'u') then return cancel(id, rec, h, label, at, w.token, w.code) end
  if not late then return comeBack(id, rec, h) end
  call('HSET', K .. 'tasks', id, rec)
  call('ZADD', K .. 'delayed', digits(seq), id)
  wakeAt(ms + w.delay, 'd' .. id)
  delayed = delayed + 1
end

-- settle ends one delivery, whatever there is to it.
local function settle(id, rec, w, data)
  local h, label, at = open(rec)
  if rec and not h then return '0' end
  if not h or byte(rec) == 120 then
    local o = call('GET', K .. 'o:' .. id)
    return o and endedHold(o, w) or '2'
  end
  local token = tonumber(w.token)
  if token <= tonumber(born(rec, h, at)) or token > tonumber(h.token) then return '2' end
  local notes = has(h, 't') and call('HGET', K .. 'notes', id)
  if notes and noted(notes, w) then return '1' end
  if w.state then
    unplace(id, rec, h)
    if w.state == '6' then
      tried(id, worker, '0', w.err)
      rec = change(rec, h, at, with(h.flags, 'p'))
      h, label, at = open(rec)
    end
    finish(id, rec, h, label, at, { state = w.state, outcome = data, worker = worker, token = w.token, code = w.code, log = w.log, blobs = w.blobs })
    return '1'
  end
  if byte(rec) ~= 114 or h.token ~= w.token then return '2' end
  giveBack(id, rec, h, at, w)
  return '1'
end

-- Most deliveries are ended together. They are like the one before: their records begin with the
-- same life, and what follows the number is the same too.
local dels, gone = {}, 0
local kept = {} -- by state: the IDs of those whose outcome is kept, until when
local watching = call('EXISTS', K .. 'watch') == 1
local like = {}

-- learn finds out whether deliveries like this one can be ended together.
local function learn(rec, w)
  local h, label, at = open(rec)
  if not h or byte(rec) ~= 114 or h.token ~= w.token or h.blobs > 0 or h.born ~= '0' or (h.flags ~= '-' and h.flags ~= '-o') then return end
  like = { h = h, w = w, life = sub(rec, 1, at - 1), rest = sub(rec, at + 16, label - 1), at = at + 16, label = label,
    head = w.state .. h.attempt .. ' ' .. worker }
  if h.retention > 0 then
    like.keep, like.due = digits(h.retention), digits(ms + h.retention)
    like.tail = concat({ '', h.attempt, h.started, digits(math.max(ms, math.floor(seq / 1000))), like.keep, h.priority, w.token, w.code, h.label,
      '=' .. worker, '=' .. h.group, '-' }, ' ') .. '\n'
  end
  return true
end

-- keepEnd keeps the outcome of one that is ended together with others.
local function keepEnd(id, rec, state, data)
  local h, at = like.h, like.at
  call('SET', K .. 'o:' .. id, state .. sub(rec, at - 16, at - 1) .. like.tail .. sub(rec, like.label, like.label + h.label - 1) .. data, 'PX', like.keep)
  local k = kept[state]
  if not k then
    k = { ids = {}, due = {}, n = 0 }
    kept[state] = k
  end
  k.n = k.n + 1
  k.ids[k.n] = id
  k.due[2 * k.n - 1], k.due[2 * k.n] = like.due, state .. id
end

-- flushKept lists those whose outcome is kept.
local function flushKept()
  for state, k in pairs(kept) do
    local list, number = {}, numbers(tick(k.n), k.n)
    for i = 1, k.n do list[2 * i - 1], list[2 * i] = number[i], k.ids[i] end
    call('ZADD', K .. 'e:' .. state, unpack(list))
    call('ZADD', K .. 'forget', unpack(k.due))
  end
  kept = {}
end

-- quick ends a delivery together with others, and tells whether it did.
local function quick(id, rec, w, data)
  if not w.plain or not rec or watching and call('ZSCORE', K .. 'watch', id) then return end
  if not (like.w == w and find(rec, like.life, 1, true) == 1 and find(rec, like.rest, like.at, true) == like.at) and not learn(rec, w) then return end
  leave(id, like.h)
  ended[w.state] = ended[w.state] + 1
  tell(like.h.client, id, like.head, data)
  if like.keep then keepEnd(id, rec, w.state, data) end
  gone = gone + 1
  dels[gone] = id
  return '1'
end

-- A task that is in the batch twice is settled again when the first time is written.
local holds, todo = {}, {}
for i = 1, n do todo[i] = i end
while n > 0 do
  local recs, later, seen = {}, {}, {}
  local names = ids
  if #todo < #ids then
    names = {}
    for k, i in ipairs(todo) do names[k] = ids[i] end
  end
  recs = call('HMGET', K .. 'tasks', unpack(names))
  for k = 1, n do
    local i, id = todo[k], names[k]
    if seen[id] then
      later[#later + 1] = i
    else
      seen[id] = true
      holds[i] = quick(id, recs[k], whats[i], datas[i]) or settle(id, recs[k], whats[i], datas[i])
    end
  end
  if gone > 0 then call('HDEL', K .. 'tasks', unpack(dels)) end
  dels, gone = {}, 0
  flushKept()
  flushLeft()
  flushTold()
  todo, n = later, #later
end
save()
return answer(concat(holds))
