-- What a commit does to tasks and to events, once it was found to hold. The words of an operation are those of its check. A Put
-- returns the new version, and an Append the position of its event.

local apply = {}
local large -- values by digest that came with the call

local function is_large(value) return byte(value) == 64 end
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

local set_values
do

-- A value of a task that is longer lies beside it.
local BESIDE_BYTES = 1024

local VALUES = {[VB] = 'vb', [VI] = 'vi', [VR] = 'vr'}

local function set_value(id, row, former, name, flag, stand_in)
  local value = row[name]
  if former and former[LG] and math.floor(former[LG] / flag) % 2 == 1 then
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
    call('HSET', P .. 'v:' .. id, VALUES[name], value)
    row[name] = false
  elseif former and not former[name] then
    call('HDEL', P .. 'v:' .. id, VALUES[name])
  end
  return is_large(value) and flag or 0
end

-- Whether all values of a task lie in it, and none of them is large, as with most.
local function is_plain(row) return row[VB] and row[VI] and row[VR] and not row[LG] end

function set_values(id, row, former, input_as, result_as)
  local rest, input, result = row[VB], row[VI], row[VR]
  if (not former or is_plain(former)) and #rest <= BESIDE_BYTES and #input <= BESIDE_BYTES and #result <= BESIDE_BYTES
    and not is_large(input) and not is_large(result) then return end
  set_value(id, row, former, VB, 4)
  local flags = set_value(id, row, former, VI, 1, input_as) + set_value(id, row, former, VR, 2, result_as)
  row[LG] = flags > 0 and flags
end

end

local change
do

-- The key of the list of a field's value: states are few, so theirs are made once.
local states
opened[#opened + 1] = function(moved) if moved then states = {} end end

local function list_of(name, value)
  if name ~= 'state' then return P .. 'i:' .. name .. ':' .. value end
  local key = states[value]
  if not key then
    key = P .. 'i:state:' .. value
    states[value] = key
  end
  return key
end

function change(name, id, number, before, after)
  if before then zrem(list_of(name, before), id) end
  if after then zadd(list_of(name, after), number, id) end
end

end

local function label_key(name, value) return P .. 'i:label:' .. #name .. ':' .. name .. ':' .. value end

local function relabel(id, number, before, after)
  for n = 1, #before, 2 do zrem(label_key(before[n], before[n + 1]), id) end
  for n = 1, #after, 2 do zadd(label_key(after[n], after[n + 1]), number, id) end
end

-- Change the indexes where a task is not what it was (NO_TASK: not there); see the head of `base` for what they leave out.
local function reindex(id, number, before, after)
  if before[S] ~= after[S] then
    change('state', id, number, before[S] ~= 'succeeded' and before[S], after[S] ~= 'succeeded' and after[S])
  end
  if before[SE] ~= after[SE] then
    change('session', id, number, before[SE] ~= true and before[SE], after[SE] ~= true and after[SE])
  end
  if before[AG] ~= after[AG] then change('agent', id, number, before[AG], after[AG]) end
  if before[KIN] == after[KIN] then return end
  before, after = kin_of(before), kin_of(after)
  if before.pa ~= after.pa then change('parent', id, number, before.pa, after.pa) end
  if before.ro ~= after.ro then change('root', id, number, before.ro, after.ro) end
  if before.rt ~= after.rt then change('retry_of', id, number, before.rt, after.rt) end
  relabel(id, number, before.la or NOTHING, after.la or NOTHING)
end

-- When a task is due, and so where it stands.
local function set_time(row, due_in, wakes_seen, wake_at, line)
  local due = false
  row[L] = line or false
  if due_in and (row[S] == 'queued' or row[S] == 'waiting') then due = now + due_in end
  if row[S] == 'waiting' then
    row[WA] = wake_at or false
    -- What came between the worker's last look and this moment must not be slept through.
    if (row[U] or 0) > wakes_seen or (row[WA] and row[W] >= row[WA]) then due = now end
  end
  row[DUE_AT] = due
  if due and due <= now then row[STANDS] = ready_of(row) end
  if TERMINAL[row[S]] then row[EN], row[L] = now, false end
end

local function begin(id, row)
  seq = seq + 1
  row[SEQ] = seq
  zadd(TASKS, seq, id)
  return row[HO] and row[HO][1]
end

local function go_on(id, row, former, token)
  unstand(id, former)
  former[STANDS], former[DUE_AT] = 0, false
  if former[HAS] and (token or TERMINAL[row[S]]) then leave_places(id, former, TERMINAL[row[S]]) end
  row[SEQ], row[V], row[T], row[W], row[U], row[C] = former[SEQ], former[V], former[T], former[W], former[U], former[C]
  row[CR], row[HAS], row[PL], row[J], row[WHO] = former[CR], former[HAS], former[PL], former[J], former[WHO]
  for n = 1, #(row[HO] or NOTHING), 3 do
    if not has_place(row, row[HO][n]) then return row[HO][n] end
  end
end

function apply.put(n, id, expect, token, state, due_in, wakes_seen, wake_at, deadline_in, input_as, result_as, packed_row)
  local former = expect > 0 and task(id)
  local row = {unpack_limit(packed_row, 32, 4)}
  row[CR], row[UP] = now, now
  if deadline_in then row[DL] = now + deadline_in end
  local left = former and former[STANDS] ~= 0 and former[L]
  local left_lane = left and lane_of(former)
  local line
  if former then line = go_on(id, row, former, token) else line = begin(id, row) end
  reindex(id, row[SEQ], former or NO_TASK, row)
  set_time(row, due_in, wakes_seen, wake_at, line)
  set_values(id, row, former, input_as, result_as)
  row[V] = row[V] + 1
  if token then row[T] = row[T] + 1 end
  touch(id, row)
  stand(id, row)
  if row[EN] then zadd(ENDED, row[EN], id) end
  if left then step(left, left_lane) end
  if row[STANDS] == 2 then step(row[L], lane_of(row)) end
  return row[V]
end

function apply.append(n, id, token, type, level, err, data, agent, session)
  if id then
    local row = task(id)
    if not row or row[EN] then return 0 end
    agent, session = row[AG], row[SE]
  end
  if is_large(data) then keep_value(data) end
  return append(id, type, level, err, data, agent, session)
end

function apply.wake(n, id, urgent, cancel)
  local row = task(id)
  if not row or row[EN] then return end
  row[W] = row[W] + 1
  if urgent then row[U] = row[W] end
  touch(id, row)
  if cancel and not row[C] then
    row[C] = 1
    if row[STANDS] ~= 0 then
      local lane, line = lane_of(row), row[L]
      move(id, row, 3)
      if line then step(line, lane) end
    end
  end
  if row[S] == 'waiting' and row[STANDS] == 0 and (urgent or (row[WA] and row[W] >= row[WA])) then
    unstand(id, row)
    row[DUE_AT] = math.min(row[DUE_AT] or now, now)
    row[STANDS] = ready_of(row)
    stand(id, row)
    if row[STANDS] == 2 then step(row[L], lane_of(row)) end
  end
end

do -- what goes; Lua knows 200 names at a time

local function forget(stream, place)
  call('XDEL', stream, place)
  if call('XLEN', stream) == 0 then call('DEL', stream) end
end

-- Remove an entry of `ev` with all of its events.
local function remove_entry(entry, first, last)
  local of_types = {}
  each_of(entry, function(position, event)
    local type = unpacked(event)[3]
    if not FREQUENT[type] then of_types[type] = position end
  end)
  for type, position in pairs(of_types) do forget(P .. 'e:type:' .. type, text(position)) end
  call('XDEL', P .. 'ev', text(last))
  if first < last then call('ZREMRANGEBYSCORE', P .. 'gone', first, last) end
  latest = nil
end

local function remove(position)
  local entry, first, last = entry_with(position)
  if not entry or first > position then return end
  local place = text(position)
  local id, _, _, level, err, data, agent, session = unpack(unpacked(entry[2][2 * (position - first + 1)]))
  drop_value(data)
  if agent then forget(P .. 'e:agent:' .. agent, place) end
  if session and not id then forget(P .. 'e:session:' .. session, place) end
  if err then forget(P .. 'e:error:' .. err, place) end
  if level ~= 'info' then forget(P .. 'e:level:' .. level, place) end
  if not id then forget(P .. 'e:apart', place) end
  if first < last then call('ZADD', P .. 'gone', position, place) end -- guard: what was removed is not shown with the rest
  if first == last or call('ZCOUNT', P .. 'gone', first, last) == last - first + 1 then remove_entry(entry, first, last) end
end

function apply.remove(n)
  wrote = true
  remove(found[n])
end

function apply.forget(n, id)
  local row = task(id)
  write_lines()
  note_positions()
  for _, position in ipairs(positions_of(id, row)) do remove(position) end
  if row[LG] then
    if row[VI] then drop_value(row[VI]) end
    if row[VR] then drop_value(row[VR]) end
  end
  reindex(id, row[SEQ], row, NO_TASK)
  zrem(TASKS, id)
  zrem(ENDED, id)
  call('DEL', P .. 't:' .. id, P .. 'v:' .. id, P .. 'j:' .. id)
  rows[id], touched[id], wrote = false, nil, true
end

end
