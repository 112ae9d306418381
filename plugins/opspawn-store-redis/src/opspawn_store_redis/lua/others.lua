-- What a commit does to rates, records and lanes.

function apply.take(op)
  wrote = true
  for _, key in ipairs(call('ZRANGEBYSCORE', P .. 'full', '-inf', text(now), 'LIMIT', 0, 2)) do
    call('ZREM', P .. 'full', key) -- a full bucket is like none: kept are those in use
    call('HDEL', P .. 'rates', key)
  end
  if op.full > now then
    call('HSET', P .. 'rates', op.key, fmt('%.17g', op.full))
    call('ZADD', P .. 'full', op.full, op.key)
  else
    call('HDEL', P .. 'rates', op.key)
    call('ZREM', P .. 'full', op.key)
  end
end

local function field_key(kind, name, value) return P .. 'rf:' .. #kind .. ':' .. kind .. ':' .. name .. ':' .. value end

function apply.record(op)
  local key, row = record_key(op.kind, op.id), record(op.kind, op.id)
  if not row then
    seq = seq + 1
    row = {n = seq, v = 0, cr = now}
    zadd(P .. 'recs:' .. op.kind, seq, op.id)
  end
  for n = 1, #(row.f or {}), 2 do zrem(field_key(op.kind, row.f[n], row.f[n + 1]), op.id) end
  for n = 1, #(op.fields or {}), 2 do zadd(field_key(op.kind, op.fields[n], op.fields[n + 1]), row.n, op.id) end
  row.v, row.up, row.f = row.v + 1, now, op.fields
  records[key], wrote = row, true
  call('HSET', P .. 'rec:' .. key, 'k', pack(row), 'd', op.data)
  return 'version', row.v
end

function apply.unrecord(op)
  local key, row = record_key(op.kind, op.id), record(op.kind, op.id)
  for n = 1, #(row.f or {}), 2 do zrem(field_key(op.kind, row.f[n], row.f[n + 1]), op.id) end
  zrem(P .. 'recs:' .. op.kind, op.id)
  call('DEL', P .. 'rec:' .. key)
  records[key], wrote = false, true
end

function apply.lane(op)
  wrote = true
  if op.open then call('SREM', P .. 'closed', op.handler) else call('SADD', P .. 'closed', op.handler) end
end
