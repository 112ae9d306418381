-- What a commit does to rates, records and lanes.

function apply.take(n, name)
  local full = found[n]
  wrote = true
  for _, key in ipairs(call('ZRANGEBYSCORE', P .. 'full', '-inf', text(now), 'LIMIT', 0, 2)) do
    call('ZREM', P .. 'full', key) -- a full bucket is like none: kept are those in use
    call('HDEL', P .. 'rates', key)
  end
  if full > now then
    call('HSET', P .. 'rates', name, fmt('%.17g', full))
    call('ZADD', P .. 'full', full, name)
  else
    call('HDEL', P .. 'rates', name)
    call('ZREM', P .. 'full', name)
  end
end

local function field_key(kind, name, value) return P .. 'rf:' .. #kind .. ':' .. kind .. ':' .. name .. ':' .. value end

function apply.record(_, kind, id, expect, data, fields)
  local key, row = record_key(kind, id), record(kind, id)
  if not row then
    seq = seq + 1
    row = {[SEQ] = seq, [V] = 0, [CR] = now}
    zadd(P .. 'recs:' .. kind, seq, id)
  end
  for n = 1, #(row.f or NOTHING), 2 do zrem(field_key(kind, row.f[n], row.f[n + 1]), id) end
  for n = 1, #(fields or NOTHING), 2 do zadd(field_key(kind, fields[n], fields[n + 1]), row[SEQ], id) end
  row[V], row[UP], row.f = row[V] + 1, now, fields
  records[key], wrote = row, true
  call('HSET', P .. 'rec:' .. key, 'k', pack(row), 'd', data)
  return row[V]
end

function apply.unrecord(_, kind, id)
  local key, row = record_key(kind, id), record(kind, id)
  for n = 1, #(row.f or NOTHING), 2 do zrem(field_key(kind, row.f[n], row.f[n + 1]), id) end
  zrem(P .. 'recs:' .. kind, id)
  call('DEL', P .. 'rec:' .. key)
  records[key], wrote = false, true
end

function apply.stands() end

function apply.lane(_, handler, open)
  wrote = true
  if open then call('SREM', P .. 'closed', handler) else call('SADD', P .. 'closed', handler) end
end
