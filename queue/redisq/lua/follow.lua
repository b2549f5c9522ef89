-- Reads the topic of a task. ARGV: 4 of base; ID, cursor, wait (ms).
-- Returns what it is: 'events' with entries; 'ended' with what is kept of the task; 'unknown';
-- 'wait' when there may be more; 'over' when there will not. The last is the cursor then.
local id, cursor, wait = ARGV[5], ARGV[6], tonumber(ARGV[7])
if due and due <= ms then
  promote()
  save()
end
local topic = K .. 't:' .. id

if cursor == '$' then
  local last = call('XREVRANGE', topic, '+', '-', 'COUNT', 1)[1]
  if last then return { 'over', last[1] } end
  return { 'over', call('EXISTS', K .. 'o:' .. id) == 1 and 'end' or '0-0' }
end

local from = (cursor == '' or cursor == 'end') and '-' or '(' .. cursor
local entries = call('XRANGE', topic, from, '+', 'COUNT', 100)
if #entries > 0 then return { 'events', entries } end
local rec = call('HGET', K .. 'tasks', id)
if rec and byte(rec) ~= 120 then
  if wait > 0 then
    call('ZREMRANGEBYSCORE', K .. 'watch', '-inf', digits(ms))
    call('ZADD', K .. 'watch', 'GT', digits(ms + wait + 60000), id)
    if call('PTTL', K .. 'watch') < wait + 60000 then call('PEXPIRE', K .. 'watch', digits(wait + 60000)) end
  end
  return { 'wait', cursor == '' and '0-0' or cursor }
end
if cursor == 'end' then return { 'over', 'end' } end
if call('EXISTS', topic) == 1 then return { 'over', cursor } end
local o = call('GET', K .. 'o:' .. id)
if o then return { 'ended', o } end
return { 'unknown' }
