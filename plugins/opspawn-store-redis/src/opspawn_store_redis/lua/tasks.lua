-- What a commit does to tasks and to events, once it was found to hold. The words of an operation are those of its check.

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

-- Whether all values of a task lie in it, and none of them is large, as with most.
local function is_plain(row) return row.vb and row.vi and row.vr and not row.lg end

local function set_values(id, row, former, input_as, result_as)
  local rest, input, result = row.vb, row.vi, row.vr
  if (not former or is_plain(former)) and #rest <= BESIDE_BYTES and #input <= BESIDE_BYTES and #result <= BESIDE_BYTES
    and not is_large(input) and not is_large(result) then return end
  set_value(id, row, former, 'vb', 4)
  local flags = set_value(id, row, former, 'vi', 1, input_as) + set_value(id, row, former, 'vr', 2, result_as)
  row.lg = flags > 0 and flags or nil
end

local function change(name, id, number, before, after)
  if before then zrem(P .. 'i:' .. name .. ':' .. before, id) end
  if after then zadd(P .. 'i:' .. name .. ':' .. after, number, id) end
end

local function label_key(name, value) return P .. 'i:label:' .. #name .. ':' .. name .. ':' .. value end

local function relabel(id, number, before, after)
  for n = 1, #before, 2 do zrem(label_key(before[n], before[n + 1]), id) end
  for n = 1, #after, 2 do zadd(label_key(after[n], after[n + 1]), number, id) end
end

-- Change the indexes where a task is not what it was; see the head of `base` for what they leave out.
local function reindex(id, number, before, after)
  if before.s ~= after.s then
    change('state', id, number, before.s ~= 'succeeded' and before.s, after.s ~= 'succeeded' and after.s)
  end
  if before.se ~= after.se then
    change('session', id, number, before.se ~= true and before.se, after.se ~= true and after.se)
  end
  if before.ag ~= after.ag then change('agent', id, number, before.ag, after.ag) end
  if before.kin == after.kin then return end
  before, after = kin_of(before), kin_of(after)
  if before.pa ~= after.pa then change('parent', id, number, before.pa, after.pa) end
  if before.ro ~= after.ro then change('root', id, number, before.ro, after.ro) end
  if before.rt ~= after.rt then change('retry_of', id, number, before.rt, after.rt) end
  relabel(id, number, before.la or NOTHING, after.la or NOTHING)
end

-- When a task is due, and so where it stands.
local function set_time(row, due_in, wakes_seen, wake_at, line)
  local due = nil
  row.l = line
  if due_in and (row.s == 'queued' or row.s == 'waiting') then due = now + due_in end
  if row.s == 'waiting' then
    row.wa = wake_at
    -- What came between the worker's last look and this moment must not be slept through.
    if (row.u or 0) > wakes_seen or (row.wa and row.w >= row.wa) then due = math.min(due or now, now) end
  end
  row.d = due
  if due and due <= now then row.r = ready_of(row) end
  if TERMINAL[row.s] then row.en, row.l = now, nil end
end

local function begin(id, row)
  seq = seq + 1
  row.n = seq
  zadd(P .. 'tasks', seq, id)
  return row.ho and row.ho[1]
end

local function go_on(id, row, former, token)
  unstand(id, former)
  former.r, former.d = 0, nil
  if former.p and (token or TERMINAL[row.s]) then leave_places(id, former, TERMINAL[row.s]) end
  row.n, row.v, row.t, row.w, row.u, row.c = former.n, former.v, former.t, former.w, former.u, former.c
  row.cr, row.p, row.pl, row.j, row.who = former.cr, former.p, former.pl, former.j, former.who
  for n = 1, #(row.ho or NOTHING), 3 do
    if not has_place(row, row.ho[n]) then return row.ho[n] end
  end
end

function apply.put(n, id, expect, token, state, due_in, wakes_seen, wake_at, deadline_in, q, h, hs, ag, se, de, kin, vb, vi, vr, ho, dl, input_as, result_as)
  local former = expect > 0 and task(id)
  local row = {
    n = 0, s = state, v = 0, t = 0, w = 0, r = 0, d = nil, hs = hs, q = q, h = h, ag = ag, se = se, de = de, cr = now,
    up = now, kin = kin, vb = vb, vi = vi, vr = vr, ho = ho, dl = deadline_in and now + deadline_in or dl,
  }
  local left = former and former.r ~= 0 and former.l
  local left_lane = left and lane_of(former)
  local line
  if former then line = go_on(id, row, former, token) else line = begin(id, row) end
  reindex(id, row.n, former or NOTHING, row)
  set_time(row, due_in, wakes_seen, wake_at, line)
  set_values(id, row, former, input_as, result_as)
  row.v = row.v + 1
  if token then row.t = row.t + 1 end
  touch(id, row)
  stand(id, row)
  if row.en then zadd(P .. 'ended', row.en, id) end
  if left then step(left, left_lane) end
  if row.r == 2 then step(row.l, lane_of(row)) end
  return 'version', row.v
end

function apply.append(n, id, token, type, level, err, data, agent, session)
  if id then
    local row = task(id)
    if not row or row.en then return 'position', 0 end
    agent, session = row.ag, row.se
  end
  keep_value(data)
  return 'position', append(id, type, level, err, data, agent, session)
end

function apply.wake(n, id, urgent, cancel)
  local row = task(id)
  if not row or row.en then return end
  row.w = row.w + 1
  if urgent then row.u = row.w end
  touch(id, row)
  if cancel and not row.c then
    row.c = 1
    if row.r ~= 0 then
      local lane, line = lane_of(row), row.l
      move(id, row, 3)
      if line then step(line, lane) end
    end
  end
  if row.s == 'waiting' and row.r == 0 and (urgent or (row.wa and row.w >= row.wa)) then
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
  local place, id, _, type, level, err, data, agent, session = entry[1], unpacked(entry[2][2])
  drop_value(data)
  if not FREQUENT[type] then forget(P .. 'e:type:' .. type, place) end
  if agent then forget(P .. 'e:agent:' .. agent, place) end
  if session and not id then forget(P .. 'e:session:' .. session, place) end
  if err then forget(P .. 'e:error:' .. err, place) end
  if level ~= 'info' then forget(P .. 'e:level:' .. level, place) end
  if not id then forget(P .. 'e:apart', place) end
  call('XDEL', P .. 'ev', place)
end

function apply.remove(n)
  wrote = true
  remove(found[n])
end

function apply.forget(n, id)
  local row = task(id)
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
  zrem(P .. 'tasks', id)
  zrem(P .. 'ended', id)
  call('DEL', P .. 't:' .. id, P .. 'v:' .. id, P .. 'j:' .. id)
  rows[id], touched[id], wrote = false, nil, true
end
