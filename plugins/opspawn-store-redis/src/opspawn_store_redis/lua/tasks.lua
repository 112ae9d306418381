-- What a commit does to tasks and to events, once it was found to hold.

local apply = {}
local large = ARGV[4] ~= '' and unpacked(ARGV[4]) or {}

local function is_large(value) return string.byte(value) == 64 end
local function digest_of(value) return string.match(value, '^@(%x+):') end

local function keep_value(value)
  if is_large(value) then
    local key = P .. 'p:' .. digest_of(value)
    if call('HINCRBY', key, 'refs', 1) == 1 then call('HSET', key, 'data', large[digest_of(value)]) end
  end
end

local function drop_value(value)
  if is_large(value) then
    local key = P .. 'p:' .. digest_of(value)
    if call('HINCRBY', key, 'refs', -1) == 0 then call('DEL', key) end
  end
end

-- A value of a task that is longer lies beside it.
local BESIDE_BYTES = 1024

local function set_value(id, row, former, name, flag, stand_in)
  local value = row[name]
  local was_plain = not former or (former[name] and not former.lg)
  if was_plain and #value <= BESIDE_BYTES and not is_large(value) then return 0 end
  if former and former.lg and math.floor(former.lg / flag) % 2 == 1 then
    if stand_in == former[name] then
      row[name] = stand_in
      return flag
    end
    keep_value(value)
    drop_value(former[name])
  else
    keep_value(value)
  end
  if #value > BESIDE_BYTES then
    call('HSET', P .. 'v:' .. id, name, value)
    row[name] = nil
  elseif former and not former[name] then
    call('HDEL', P .. 'v:' .. id, name)
  end
  return is_large(value) and flag or 0
end

local function set_values(id, row, former, op)
  set_value(id, row, former, 'vb', 4)
  local flags = set_value(id, row, former, 'vi', 1, op.input_as) + set_value(id, row, former, 'vr', 2, op.result_as)
  row.lg = flags > 0 and flags or nil
end

local NOTHING = {}

local function change(name, id, number, before, after)
  if before then zrem(P .. 'i:' .. name .. ':' .. before, id) end
  if after then zadd(P .. 'i:' .. name .. ':' .. after, number, id) end
end

-- Change the indexes where a task is not what it was; see the head of `base` for what they leave out.
local function reindex(id, number, before, after)
  if before.s ~= after.s then
    change('state', id, number, before.s ~= 'succeeded' and before.s, after.s ~= 'succeeded' and after.s)
  end
  if before.se ~= after.se then
    change('session', id, number, before.se ~= true and before.se, after.se ~= true and after.se)
  end
  if before.pa ~= after.pa then change('parent', id, number, before.pa, after.pa) end
  if before.ro ~= after.ro then change('root', id, number, before.ro, after.ro) end
  if before.ag ~= after.ag then change('agent', id, number, before.ag, after.ag) end
  if before.rt ~= after.rt then change('retry_of', id, number, before.rt, after.rt) end
end

local function label_key(name, value) return P .. 'i:label:' .. #name .. ':' .. name .. ':' .. value end

local function relabel(id, number, before, after)
  for n = 1, #before, 2 do zrem(label_key(before[n], before[n + 1]), id) end
  for n = 1, #after, 2 do zadd(label_key(after[n], after[n + 1]), number, id) end
end

-- When a task is due, and so where it stands.
local function set_time(row, op, line)
  local due = nil
  row.l, row.r = line, 0
  if op.due and (row.s == 'queued' or row.s == 'waiting') then due = now + op.due end
  if row.s == 'waiting' then
    row.wa = op.wake_at
    -- What came between the worker's last look and this moment must not be slept through.
    if (row.u or 0) > op.seen or (row.wa and row.w >= row.wa) then due = math.min(due or now, now) end
  end
  row.d, row.up = due, now
  if due and due <= now then row.r = ready_of(row) end
  if op.deadline_in then row.dl = now + op.deadline_in end
  if TERMINAL[row.s] then row.en, row.l = now, nil end
end

local function begin(id, row)
  seq = seq + 1
  row.n, row.v, row.t, row.w, row.cr = seq, 0, 0, 0, now
  zadd(P .. 'tasks', seq, id)
  return row.ho and row.ho[1]
end

local function go_on(id, row, former, token)
  unstand(id, former)
  former.r, former.d = 0, nil
  if former.p and (token or TERMINAL[row.s]) then leave_places(id, former, TERMINAL[row.s]) end
  row.n, row.v, row.t, row.w, row.u, row.c = former.n, former.v, former.t, former.w, former.u, former.c
  row.cr, row.p, row.pl, row.j = former.cr, former.p, former.pl, former.j
  for n = 1, #(row.ho or NOTHING), 3 do
    if not has_place(row, row.ho[n]) then return row.ho[n] end
  end
end

function apply.put(op)
  local id, row, former = op.id, op.row, op.expect > 0 and task(op.id)
  local left = former and former.r ~= 0 and former.l
  local left_lane = left and lane_of(former)
  local line
  if former then line = go_on(id, row, former, op.token) else line = begin(id, row) end
  reindex(id, row.n, former or NOTHING, row)
  if row.la or (former and former.la) then relabel(id, row.n, former and former.la or NOTHING, row.la or NOTHING) end
  set_time(row, op, line)
  set_values(id, row, former, op)
  row.v = row.v + 1
  if op.token then row.t = row.t + 1 end
  touch(id, row)
  stand(id, row)
  if row.en then zadd(P .. 'ended', row.en, id) end
  if left then step(left, left_lane) end
  if row.r == 2 then step(row.l, lane_of(row)) end
  return 'version', row.v
end

function apply.append(op)
  local row, agent, session = op.id and task(op.id), op.agent, op.session
  if op.id then
    if not row or row.en then return 'position', 0 end
    agent, session = row.ag, row.se
  end
  keep_value(op.data)
  return 'position', append(op.id, op.type, op.level, op.err, op.data, agent, session)
end

function apply.wake(op)
  local id, row = op.id, task(op.id)
  if not row or row.en then return end
  row.w = row.w + 1
  if op.urgent then row.u = row.w end
  touch(id, row)
  if op.cancel and not row.c then
    row.c = 1
    if row.r ~= 0 then
      local lane, line = lane_of(row), row.l
      move(id, row, 3)
      if line then step(line, lane) end
    end
  end
  if row.s == 'waiting' and row.r == 0 and (op.urgent or (row.wa and row.w >= row.wa)) then
    unstand(id, row)
    row.d = math.min(row.d or now, now)
    row.r = ready_of(row)
    stand(id, row)
    if row.r == 2 then step(row.l, lane_of(row)) end
  end
end

local function forget(stream, place)
  call('XDEL', stream, place)
  if call('XLEN', stream) == 0 then call('DEL', stream) end
end

local function remove(entry)
  local place, kept = entry[1], unpacked(entry[2][2])
  drop_value(kept.d)
  if not FREQUENT[kept.c] then forget(P .. 'e:type:' .. kept.c, place) end
  if kept.a then forget(P .. 'e:agent:' .. kept.a, place) end
  if kept.s and not kept.k then forget(P .. 'e:session:' .. kept.s, place) end
  if kept.e then forget(P .. 'e:error:' .. kept.e, place) end
  if kept.l ~= 'info' then forget(P .. 'e:level:' .. kept.l, place) end
  if not kept.k then forget(P .. 'e:apart', place) end
  call('XDEL', P .. 'ev', place)
end

function apply.remove(op)
  wrote = true
  remove(op.entry)
end

function apply.forget(op)
  local id, row = op.id, task(op.id)
  note_positions()
  for _, position in ipairs(positions_of(id, row)) do
    local entry = entry_at(position)
    if entry then remove(entry) end
  end
  if row.lg then
    if row.vi then drop_value(row.vi) end
    if row.vr then drop_value(row.vr) end
  end
  reindex(id, row.n, row, NOTHING)
  relabel(id, row.n, row.la or NOTHING, NOTHING)
  zrem(P .. 'tasks', id)
  zrem(P .. 'ended', id)
  call('DEL', P .. 't:' .. id, P .. 'v:' .. id, P .. 'j:' .. id)
  rows[id], touched[id], wrote = false, nil, true
end
