-- Keeps leases. ARGV: 4 of base; worker; then for each: ID, token, for (ms), done, total, number of records, records.
-- Returns a digit for each.
local old = answered()
if old then return old end
if due and due <= ms then promote() end

local worker, holds, longest, at = ARGV[5], {}, 30000, 6

-- renew keeps one lease.
local function renew(id, token, span, done, total, log)
  local rec = call('HGET', K .. 'tasks', id)
  local h, _, at = open(rec)
  if not h or byte(rec) ~= 114 or h.token ~= token then return '2' end
  local flags = with(h.flags, 'o')
  if #log > 0 then
    say(id, log)
    flags = with(flags, 'l')
  end
  if done ~= '0' or total ~= '0' then
    call('HSET', K .. 'progress', id, done .. ' ' .. total)
    flags = with(flags, 'g')
  end
  if flags ~= h.flags then
    call('HSET', K .. 'tasks', id, change(rec, h, at, flags))
  end
  wakeAt(ms + span, 'l' .. id)
  longest = math.max(longest, span)
  return find(flags, 'u', 1, true) and '3' or '1'
end

while at <= #ARGV do
  local logs, log = tonumber(ARGV[at + 5]), {}
  for i = 1, logs do log[i] = ARGV[at + 5 + i] end
  holds[#holds + 1] = renew(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3], ARGV[at + 4], log)
  at = at + 6 + logs
end
call('ZADD', K .. 'w', 'GT', digits(ms + longest), worker)
save()
return answer(concat(holds))
