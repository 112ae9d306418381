-- What a commit does to put things as another store kept them; see `opspawn.contracts.moving`. What is there already in
-- the same version stays as it is.

function check.keep_task(n, id, state, version, token)
  local row = task_in(id)
  found[n] = row and row[V] == version
  if row and not found[n] then return 'version', row[V] end
  see_put(id, state, version, token)
end

function check.keep_record(n, kind, id, expect)
  local key = 'r' .. record_key(kind, id)
  local version = version_in(key, kind, id)
  found[n] = version == expect
  if version ~= 0 and not found[n] then return 'version', version end
  see(key, expect)
end

function check.keep_event(n, position, id)
  found[n] = position <= (seen.pos or pos)
  if found[n] then return end
  if id and not task_in(id) then return 'absent' end
  seen.pos = position
end

local function keep_places(id, row)
  for n = 1, #(row[PL] or NOTHING), 2 do
    call('HINCRBY', P .. 'held', row[PL][n], 1)
    row[HAS] = (row[HAS] == 2 or row[PL][n + 1] == 0) and 2 or 1
  end
  if row[HAS] == 2 then zadd(LEASES, row[DUE_AT], member(id, row)) end
end

function apply.keep_task(n, id, _, _, _, packed_row)
  if found[n] then return end
  local row = {unpack_limit(packed_row, 32, 4)}
  begin(id, row)
  row[STANDS] = 0 -- it is made ready by the next claim, if it is due
  reindex(id, row[SEQ], NO_TASK, row)
  set_values(id, row)
  keep_places(id, row)
  touch(id, row)
  stand(id, row)
  if row[EN] then zadd(ENDED, row[EN], id) end
end

function apply.keep_record(n, kind, id, expect, data, fields, created, updated)
  if found[n] then return end
  apply.record(n, kind, id, expect, data, fields)
  local key, row = record_key(kind, id), record(kind, id)
  row[V], row[CR], row[UP] = expect, created, updated
  call('HSET', P .. 'rec:' .. key, 'k', pack(row))
end

function apply.keep_event(n, position, id, time, type, level, err, data, agent, session)
  if found[n] then return end
  local today = now
  keep_value(data)
  if position > pos + 1 then write_lines() end -- guard: an entry has no gaps
  pos, now = position - 1, time
  append(id, type, level, err, data, agent, session)
  now = today
end

function apply.keep_rest(_, position, time, closed, rates)
  write_lines()
  wrote, pos = true, math.max(pos, position)
  for _, handler in ipairs(closed) do call('SADD', P .. 'closed', handler) end
  for _, rate in ipairs(rates) do
    call('HSET', P .. 'rates', rate[1], fmt('%.17g', rate[2]))
    call('ZADD', P .. 'full', rate[2], rate[1])
  end
  if time > now then now, ahead = time, ahead + time - now end
end
