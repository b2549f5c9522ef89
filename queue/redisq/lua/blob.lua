-- Keeps blobs. ARGV: 4 of base; then 'publish', hash, upload, keep (ms), size, pieces; or 'keep', hash, keep.
local verb, hash = ARGV[5], ARGV[6]
local key = K .. 'x:' .. hash

-- hold makes the blob last for at least so long, from now or from what it lasted before; forever
-- if a task names it.
local function hold(keep, before)
  if tonumber(call('HGET', key, 'keep') or '0') < keep then call('HSET', key, 'keep', digits(keep)) end
  if call('HEXISTS', K .. 'refs', hash) == 1 then
    call('PERSIST', key)
  else
    call('PEXPIRE', key, digits(math.max(keep, before)))
  end
end

if verb == 'keep' then
  if call('HEXISTS', key, 'size') == 0 then return '0' end
  hold(tonumber(ARGV[7]), call('PTTL', key))
  return '1'
end

local upload, before = K .. 'up:' .. ARGV[7], call('PTTL', key)
if call('EXISTS', upload) == 1 then
  if call('HLEN', upload) ~= tonumber(ARGV[10]) then
    call('UNLINK', upload)
    return '0'
  end
  -- An older copy goes: it may be damaged, and this one has been checked.
  local keep = call('HGET', key, 'keep')
  call('HSET', upload, 'size', ARGV[9])
  if keep then call('HSET', upload, 'keep', keep) end
  call('RENAME', upload, key)
elseif call('HEXISTS', key, 'size') == 0 then
  return '0'
end
hold(tonumber(ARGV[8]), before)
return '1'
