-- Ends deliveries. ARGV: 4 of base; worker; then for each: ID, "token code" or "token code delay logs blobs",
-- outcome or error; with the long form error, logs and blobs follow. Returns a digit for each.
local old = answered()
if old then return old end
if due and due <= ms then promote() end
prune()

local worker = ARGV[5]
local STATES = { ['1'] = '4', ['2'] = '5', ['3'] = '6', ['4'] = '7' }
local ends, ids = {}, {}

-- what reads "token code ...", which is mostly the same.
local said = {}
local function what(text)
  local w = said[text]
  if not w then
    local token, code, delay, logs, blobs = string.match(text, '^(%d+) (%d)%s?(%d*)%s?(%d*)%s?(%d*)$')
    w = { token = token, code = code, state = STATES[code], long = delay ~= '', delay = tonumber(delay) or 0,
      logs = tonumber(logs) or 0, blobs = tonumber(blobs) or 0 }
    said[text] = w
  end
  return w
end

local function list(at, n)
  local l = {}
  for i = 1, n do l[i] = ARGV[at + i - 1] end
  return l
end

local at = 6
while at <= #ARGV do
  local w = what(ARGV[at + 1])
  ids[#ids + 1] = ARGV[at]
  local e = { w = w, data = ARGV[at + 2], err = '' }
  at = at + 3
  if w.long then
    e.err = ARGV[at]
    e.log = list(at + 1, w.logs)
    e.blobs = list(at + 1 + w.logs, w.blobs)
    at = at + 1 + w.logs + w.blobs
  end
  ends[#ends + 1] = e
end

local holds, dels, events = {}, {}, {}

-- endedHold answers for a task that has an outcome: only the settlement that gave it, or one
-- that counted before, was not lost.
local function endedHold(o, w)
  local token, code, notes = string.match(o, '^%S+ %d+ %d+ %d+ %d+ %d (%d+) (%d) %d+ =%S* =%S* (%S+)\n')
  if token == w.token and code == w.code then return '1' end
  return token and noted(notes, w) and '1' or '2'
end

-- giveBack ends a delivery without an outcome.
local function giveBack(id, rec, h, nl, e)
  leave(id, h)
  note(id, h.token, e.w.code)
  local attempt, flags = h.attempt, with(without(h.flags, 'o'), 't')
  if e.log and #e.log > 0 then
    say(id, e.log)
    flags = with(flags, 'l')
  end
  if e.w.code == '5' then
    tried(id, worker, '0', e.err)
    flags = with(flags, 'p')
  else
    attempt = attempt - 1
  end
  local late = e.w.delay > 0 and not has(h, 'u')
  rec = stamp(late and 'd' or 'w', rec, h, nl, attempt, flags)
  h, nl = open(rec)
  if has(h, 'u') then return cancel(id, rec, h, nl, e.w.token, e.w.code) end
  if not late then return comeBack(id, rec, h) end
  call('HSET', K .. 'tasks', id, rec)
  call('ZADD', K .. 'delayed', sub(rec, 2, 17), id)
  wakeAt(ms + e.w.delay, 'd' .. id)
  delayed = delayed + 1
end

-- settle ends one delivery, whatever there is to it.
local function settle(id, rec, e)
  local w = e.w
  local h, nl = open(rec)
  if rec and not h then return '0' end
  if not h or byte(rec) == 120 then
    local o = call('GET', K .. 'o:' .. id)
    return o and endedHold(o, w) or '2'
  end
  local mine = byte(rec) == 114 and h.token == w.token
  local token = tonumber(w.token)
  if token <= tonumber(born(rec, h)) or token > tonumber(h.token) then return '2' end
  if w.state then
    unplace(id, rec, h)
    if w.state == '6' then
      tried(id, worker, '0', e.err)
      rec = sub(rec, 1, 17) .. header(h, h.token, h.attempt, h.started, with(h.flags, 'p'), h.worker) .. sub(rec, nl)
      h, nl = open(rec)
    end
    finish(id, rec, h, nl, { state = w.state, outcome = e.data, worker = worker, token = w.token, code = w.code, log = e.log, blobs = e.blobs })
    return '1'
  end
  if mine then
    giveBack(id, rec, h, nl, e)
    return '1'
  end
  local notes = has(h, 't') and call('HGET', K .. 'notes', id)
  return notes and noted(notes, w) and '1' or '2'
end

local watched = call('EXISTS', K .. 'watch') == 1

-- quick ends a delivery with an outcome of which nothing is kept, in which case a batch
-- is written together. It returns nil for others.
local function quick(id, rec, e)
  local w = e.w
  if watched or w.long or not ended[w.state or ''] or not rec or byte(rec) ~= 114 then return end
  local nl = find(rec, '\n', 18, true)
  local h = nl and parse(sub(rec, 18, nl - 1))
  if not h or h.token ~= w.token or not h.plain then return end
  leave(id, h)
  ended[w.state] = ended[w.state] + 1
  local prefix = h[w]
  if not prefix then
    prefix = w.state .. h.attempt .. ' ' .. worker .. '\n'
    h[w] = prefix
  end
  tell(h.client, id, prefix .. e.data)
  dels[#dels + 1] = id
  return '1'
end

-- A task that is in the batch twice is settled when the first time is written.
local todo = {}
for i = 1, #ids do todo[i] = i end
while #todo > 0 do
  local names, later, seen = {}, {}, {}
  for k, i in ipairs(todo) do names[k] = ids[i] end
  local recs = call('HMGET', K .. 'tasks', unpack(names))
  for k, i in ipairs(todo) do
    local id = names[k]
    if seen[id] then
      later[#later + 1] = i
    else
      seen[id] = true
      holds[i] = quick(id, recs[k], ends[i]) or settle(id, recs[k], ends[i])
    end
  end
  if #dels > 0 then call('HDEL', K .. 'tasks', unpack(dels)) end
  dels = {}
  flushLeft()
  flushTold()
  todo = later
end
save()
return answer(concat(holds))
