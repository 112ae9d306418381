-- What a commit does to put things as another store kept them; see `opspawn.contracts.moving`. What is there already in
-- the same version stays as it is.

function check.keep_task(op, seen)
  local row = task_in(seen, op.id)
  op.there = row and row.v == op.kept.v
  if row and not op.there then return 'version', row.v end
  seen.tasks[op.id] = {v = op.kept.v, t = op.kept.t, s = op.kept.s}
end

function check.keep_record(op, seen)
  local key = 'r' .. record_key(op.kind, op.id)
  local version = version_in(seen, key, op)
  op.there = version == op.expect
  if version ~= 0 and not op.there then return 'version', version end
  seen.others[key] = op.expect
end

function check.keep_event(op, seen)
  op.there = op.position <= (seen.pos or pos)
  if op.there then return end
  if op.id and not task_in(seen, op.id) then return 'absent' end
  seen.pos = op.position
end

local function keep_places(id, row)
  for n = 1, #(row.pl or NOTHING), 2 do
    call('HINCRBY', P .. 'held', row.pl[n], 1)
    row.p = (row.p == 2 or row.pl[n + 1] == 0) and 2 or 1
  end
  if row.p == 2 then zadd(P .. 'leases', row.d, member(id, row)) end
end

function apply.keep_task(op)
  if op.there then return end
  local id, row = op.id, op.row
  begin(id, row)
  for name, value in pairs(op.kept) do row[name] = value end
  row.r = 0 -- it is made ready by the next claim, if it is due
  reindex(id, row.n, NOTHING, row)
  relabel(id, row.n, NOTHING, row.la or NOTHING)
  set_values(id, row, nil, op)
  keep_places(id, row)
  touch(id, row)
  stand(id, row)
  if row.en then zadd(P .. 'ended', row.en, id) end
end

function apply.keep_record(op)
  if op.there then return end
  apply.record(op)
  local key, row = record_key(op.kind, op.id), record(op.kind, op.id)
  row.v, row.cr, row.up = op.expect, op.created, op.updated
  call('HSET', P .. 'rec:' .. key, 'k', pack(row))
end

function apply.keep_event(op)
  if op.there then return end
  local today = now
  keep_value(op.data)
  pos, now = op.position - 1, op.time
  append(op.id, op.type, op.level, op.err, op.data, op.agent, op.session)
  now = today
end

function apply.keep_rest(op)
  wrote, pos = true, math.max(pos, op.position)
  for _, handler in ipairs(op.closed) do call('SADD', P .. 'closed', handler) end
  for _, rate in ipairs(op.rates) do
    call('HSET', P .. 'rates', rate[1], fmt('%.17g', rate[2]))
    call('ZADD', P .. 'full', rate[2], rate[1])
  end
  if op.time > now then now, ahead = op.time, ahead + op.time - now end
end
