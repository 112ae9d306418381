-- Applies a group of batches, each all or nothing, in their order.
--
-- ARGV: time, client, number of the call; large values (count, then digest and text of each); batches (count, then of
-- each: id, number of operations, the operations). An optional text is '' or '=' and the text.
-- Answers {time, pos, writes, era, outcomes}; an outcome is {1, versions, positions, time, newest position} or {0, operation, why, more}.

local at = 3
local function next_one() at = at + 1 return ARGV[at] end
local function next_number() return tonumber(next_one()) end
local function next_text()
  local given = next_one()
  if given ~= '' then return string.sub(given, 2) end
end

local large = {}
for _ = 1, next_number() do
  local digest = next_one()
  large[digest] = next_one()
end

-- Reading the operations -----------------------------------------------------------------------------------------------

local function flat(width)
  local count, list = next_number(), {}
  for n = 1, count * width do list[n] = next_one() end
  return count > 0 and list or nil
end

local read = {}

function read.P()
  local op = {id = next_one(), expect = next_number(), token = next_number(), due = next_number(),
    wake_at = next_number(), seen = next_number(), deadline_in = next_number(), deadline = next_number(),
    handler = next_one(), root = next_one(), queue = next_one(), state = next_one(), parent = next_text(),
    agent = next_text(), session = next_text(), retry_of = next_text(), head_start = next_number(),
    deliveries = next_number(), body = next_one(), input = next_one(), input_as = next_one(), result = next_one(),
    result_as = next_one(), holds = flat(3), labels = flat(2)}
  for n = 1, #(op.holds or {}), 3 do
    op.holds[n + 1], op.holds[n + 2] = tonumber(op.holds[n + 1]), tonumber(op.holds[n + 2])
  end
  return op
end

function read.A()
  return {id = next_one(), token = next_number(), type = next_one(), level = next_one(), err = next_text(), data = next_one()}
end

function read.E()
  return {type = next_one(), level = next_one(), err = next_text(), data = next_one(), agent = next_text(), session = next_text()}
end

function read.W() return {id = next_one(), urgent = next_one() == '1', cancel = next_one() == '1'} end
function read.T()
  return {key = next_one(), amount = next_number(), unit = next_number(), burst = next_number(), force = next_one() == '1'}
end
function read.R() return {kind = next_one(), id = next_one(), expect = next_number(), data = next_one(), fields = flat(2)} end
function read.D() return {kind = next_one(), id = next_one(), expect = next_number()} end
function read.X() return {id = next_one(), expect = next_number()} end
function read.V() return {position = next_one(), expect = next_number()} end
function read.L() return {handler = next_one(), open = next_one() == '1'} end

-- Checking: nothing is written before the whole batch was found to hold. `seen` is what its operations would have left. --

local records = {}
local function record_key(kind, id) return #kind .. ':' .. kind .. ':' .. id end

local function record(kind, id)
  local key = record_key(kind, id)
  if records[key] == nil then
    local packed = call('HGET', P .. 'rec:' .. key, 'k')
    records[key] = packed and cmsgpack.unpack(packed) or false
  end
  return records[key]
end

local function task_in(seen, id)
  local known = seen['t' .. id]
  if known == nil then
    local row = task(id)
    known = row and {v = row.v, t = row.t, s = row.s} or false
    seen['t' .. id] = known
  end
  return known
end

local check = {}

function check.P(op, seen)
  local row = task_in(seen, op.id)
  if op.expect == 0 then
    if op.token then return 'claimless' end
    if row then return 'exists' end
    seen['t' .. op.id] = {v = 1, t = 0, s = op.state}
    return
  end
  if not row then return 'absent' end
  if TERMINAL[row.s] then return 'ended', row.s end -- guard: an end is final
  if row.v ~= op.expect then return 'version', row.v end -- guard: nobody overwrites what they have not read
  if op.token == nil then
    if row.s == 'running' then return 'running' end
  elseif op.token ~= row.t or row.s ~= 'running' then -- guard: the fence of a Put
    return 'over'
  end
  seen['t' .. op.id] = {v = row.v + 1, t = row.t + (op.token and 1 or 0), s = op.state}
end

function check.A(op, seen)
  if op.token then
    local row = task_in(seen, op.id)
    if not row or row.t ~= op.token or row.s ~= 'running' then return 'over' end -- guard: the fence of an Append
  end
end

function check.T(op, seen)
  local key = 'f' .. op.key
  local full = math.max(now, seen[key] or tonumber(call('HGET', P .. 'rates', op.key) or 0))
  local after = full + op.amount * op.unit
  if op.amount > 0 and not op.force then
    local over = after - now - math.max(op.burst, op.amount) * op.unit
    if over > 0.5 then return 'limited', fmt('%.3f', over) end
  end
  op.full, seen[key] = after, after
end

function check.R(op, seen)
  local key = 'r' .. record_key(op.kind, op.id)
  local version = seen[key]
  if version == nil then
    local row = record(op.kind, op.id)
    version = row and row.v or 0
  end
  if version ~= op.expect then return version == 0 and 'absent' or (op.expect == 0 and 'exists' or 'version'), version end
  seen[key] = version + 1
end

function check.D(op, seen)
  local key = 'r' .. record_key(op.kind, op.id)
  local version = seen[key]
  if version == nil then
    local row = record(op.kind, op.id)
    version = row and row.v or 0
  end
  if version == 0 or version ~= op.expect then return 'version', version end
  seen[key] = 0
end

function check.X(op, seen)
  local row = task_in(seen, op.id)
  if not row or row.v ~= op.expect then return 'version', row and row.v or 0 end
  if not TERMINAL[row.s] then return 'alive' end
  seen['t' .. op.id] = false
end

function check.V(op, seen)
  local entry = tonumber(op.position) and call('XRANGE', P .. 'ev', op.position .. '-0', op.position .. '-0')[1]
  if not entry or entry[2][18] ~= '1' or op.expect ~= 0 or seen['v' .. op.position] then return 'apart' end
  seen['v' .. op.position] = true
  op.entry = entry
end

-- Applying -------------------------------------------------------------------------------------------------------------

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

local function reindex(name, id, row, before, after)
  if before ~= after then
    if before then call('ZREM', P .. 'i:' .. name .. ':' .. before, id) end
    if after then call('ZADD', P .. 'i:' .. name .. ':' .. after, row.n, id) end
  end
end

local function relabel(id, row, labels)
  local former = row.la or {}
  for n = 1, #former, 2 do call('ZREM', P .. 'i:label:' .. #former[n] .. ':' .. former[n] .. ':' .. former[n + 1], id) end
  for n = 1, #(labels or {}), 2 do
    call('ZADD', P .. 'i:label:' .. #labels[n] .. ':' .. labels[n] .. ':' .. labels[n + 1], row.n, id)
  end
  row.la = labels
end

-- When a task is due, and so where it stands.
local function set_time(row, op, line)
  local due = nil
  row.wa, row.l, row.r, row.en = nil, line, 0, nil
  if op.due and (op.state == 'queued' or op.state == 'waiting') then due = now + op.due end
  if op.state == 'waiting' then
    row.wa = op.wake_at
    -- What came between the worker's last look and this moment must not be slept through.
    if (row.u or 0) > op.seen or (row.wa and row.w >= row.wa) then due = math.min(due or now, now) end
  end
  row.d, row.up = due, now
  if due and due <= now then row.r = ready_of(row) end
  if op.deadline_in then row.dl = now + op.deadline_in else row.dl = op.deadline end
  if TERMINAL[op.state] then row.en, row.l = now, nil end
end

local function set_values(id, row, op, fresh)
  local new = {b = op.body}
  local function set(name, value, stand_in, flag)
    if not fresh and row.lg and math.floor(row.lg / flag) % 2 == 1 then
      local former = value_of(id, name)
      if stand_in ~= '' and stand_in == former then return flag end
      keep_value(value)
      drop_value(former)
    else
      keep_value(value)
    end
    new[name] = value
    return is_large(value) and flag or 0
  end
  local flags = set('i', op.input, op.input_as, 1) + set('r', op.result, op.result_as, 2)
  row.lg = flags > 0 and flags or nil
  values[id] = values[id] or {}
  for name, value in pairs(new) do values[id][name] = value end
end

local function set_row(id, row, op)
  reindex('state', id, row, row.s ~= 'succeeded' and row.s, op.state ~= 'succeeded' and op.state)
  reindex('parent', id, row, row.pa, op.parent)
  reindex('root', id, row, row.ro ~= id and row.ro, op.root ~= id and op.root) -- a root is found by its id
  reindex('agent', id, row, row.ag, op.agent)
  reindex('session', id, row, row.se, op.session)
  reindex('retry_of', id, row, row.rt, op.retry_of)
  if row.la or op.labels then relabel(id, row, op.labels) end
  row.s, row.q, row.h, row.ro, row.pa, row.ag = op.state, op.queue, op.handler, op.root, op.parent, op.agent
  row.se, row.rt, row.hs, row.de, row.ho, row.o = op.session, op.retry_of, op.head_start, op.deliveries, op.holds, nil
end

local apply = {}

function apply.P(op)
  local id, row = op.id, task(op.id)
  local fresh = op.expect == 0
  local former_line, former_lane, former_ready
  local line = op.holds and op.holds[1]
  if fresh then
    seq = seq + 1
    row = {n = seq, v = 0, t = 0, w = 0, cr = now, r = 0}
    call('ZADD', P .. 'tasks', seq, id)
  else
    former_line, former_lane, former_ready = row.l, lane_of(row), row.r
    unstand(id, row)
    row.r, row.d = 0, nil
    if row.p and (op.token or TERMINAL[op.state]) then leave_places(id, row, TERMINAL[op.state]) end
    line = nil
    for n = 1, #(op.holds or {}), 3 do
      if not line and not has_place(row, op.holds[n]) then line = op.holds[n] end
    end
  end
  set_row(id, row, op)
  set_time(row, op, line)
  set_values(id, row, op, fresh)
  row.v = row.v + 1
  if op.token then row.t = row.t + 1 end
  touch(id, row)
  stand(id, row)
  if row.en then call('ZADD', P .. 'ended', row.en, id) end
  if former_line and former_ready ~= 0 then step(former_line, former_lane) end
  if row.r == 2 then step(row.l, lane_of(row)) end
  return 'version', row.v
end

function apply.A(op)
  local row = task(op.id)
  if not row or row.en then return 'position', 0 end
  keep_value(op.data)
  return 'position', append(op.id, op.type, op.level, op.err, op.data, row.ag, row.se)
end

function apply.E(op)
  keep_value(op.data)
  return 'position', append(nil, op.type, op.level, op.err, op.data, op.agent, op.session)
end

function apply.W(op)
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

function apply.T(op)
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

function apply.R(op)
  local key, row = record_key(op.kind, op.id), record(op.kind, op.id)
  if not row then
    seq = seq + 1
    row = {n = seq, v = 0, cr = now}
    call('ZADD', P .. 'recs:' .. op.kind, seq, op.id)
  end
  for n = 1, #(row.f or {}), 2 do call('ZREM', field_key(op.kind, row.f[n], row.f[n + 1]), op.id) end
  for n = 1, #(op.fields or {}), 2 do call('ZADD', field_key(op.kind, op.fields[n], op.fields[n + 1]), row.n, op.id) end
  row.v, row.up, row.f = row.v + 1, now, op.fields
  records[key], wrote = row, true
  call('HSET', P .. 'rec:' .. key, 'k', cmsgpack.pack(row), 'd', op.data)
  return 'version', row.v
end

function apply.D(op)
  local key, row = record_key(op.kind, op.id), record(op.kind, op.id)
  for n = 1, #(row.f or {}), 2 do call('ZREM', field_key(op.kind, row.f[n], row.f[n + 1]), op.id) end
  call('ZREM', P .. 'recs:' .. op.kind, op.id)
  call('DEL', P .. 'rec:' .. key)
  records[key], wrote = false, true
end

local function forget(stream, place)
  call('XDEL', stream, place)
  if call('XLEN', stream) == 0 then call('DEL', stream) end
end

local function remove(entry)
  local place, kept = entry[1], {}
  for n = 1, #entry[2], 2 do kept[entry[2][n]] = entry[2][n + 1] end
  drop_value(kept.d)
  if not FREQUENT[kept.c] then forget(P .. 'e:type:' .. kept.c, place) end
  if kept.a ~= '' then forget(P .. 'e:agent:' .. string.sub(kept.a, 2), place) end
  if kept.s ~= '' and kept.x == '1' then forget(P .. 'e:session:' .. string.sub(kept.s, 2), place) end
  if kept.e ~= '' then forget(P .. 'e:error:' .. string.sub(kept.e, 2), place) end
  if kept.l ~= 'info' then forget(P .. 'e:level:' .. kept.l, place) end
  if kept.x == '1' then forget(P .. 'e:apart', place) end
  call('XDEL', P .. 'ev', place)
end

function apply.V(op)
  wrote = true
  remove(op.entry)
end

function apply.X(op)
  local id, row = op.id, task(op.id)
  for _, position in ipairs(call('LRANGE', P .. 'j:' .. id, 0, -1)) do
    local entry = call('XRANGE', P .. 'ev', position .. '-0', position .. '-0')[1]
    if entry then remove(entry) end
  end
  if row.lg then
    drop_value(value_of(id, 'i'))
    drop_value(value_of(id, 'r'))
  end
  reindex('state', id, row, row.s ~= 'succeeded' and row.s, nil)
  reindex('parent', id, row, row.pa, nil)
  reindex('root', id, row, row.ro ~= id and row.ro, nil)
  reindex('agent', id, row, row.ag, nil)
  reindex('session', id, row, row.se, nil)
  reindex('retry_of', id, row, row.rt, nil)
  relabel(id, row, nil)
  call('ZREM', P .. 'tasks', id)
  call('ZREM', P .. 'ended', id)
  call('DEL', P .. 't:' .. id, P .. 'j:' .. id)
  rows[id], touched[id], values[id], wrote = false, nil, nil, true
end

function apply.L(op)
  wrote = true
  if op.open then call('SREM', P .. 'closed', op.handler) else call('SADD', P .. 'closed', op.handler) end
end

-- The group ------------------------------------------------------------------------------------------------------------

local function run(operations)
  local seen = {}
  for n, op in ipairs(operations) do
    local checks = check[op.sort]
    if checks then
      local why, more = checks(op, seen)
      if why then return {0, n - 1, why, more or ''} end
    end
  end
  local versions, positions = {}, {}
  for _, op in ipairs(operations) do
    local sort, number = apply[op.sort](op)
    if sort == 'version' then versions[#versions + 1] = number end
    if sort == 'position' then positions[#positions + 1] = number end
  end
  return {1, versions, positions, now, pos}
end

local asked = P .. 'c:' .. ARGV[2]
local former = ARGV[2] ~= '' and call('GET', asked)
if former then
  local kept = cmsgpack.unpack(former)
  if kept[1] == ARGV[3] then -- guard: what was applied before its reply was lost is not applied again
    flush()
    return {now, pos, writes, era, kept[2]}
  end
end

local outcomes = {}
for n = 1, next_number() do
  local id, operations = next_text(), {}
  for m = 1, next_number() do
    local sort = next_one()
    operations[m] = read[sort]()
    operations[m].sort = sort
  end
  local kept = id and call('GET', P .. 'a:b:' .. id)
  kept = kept and cmsgpack.unpack(kept)
  if kept and kept[1] > now - 60000000 then -- guard: the same id is applied once
    outcomes[n] = kept[2]
  else
    outcomes[n] = run(operations)
    if id and outcomes[n][1] == 1 then
      call('SET', P .. 'a:b:' .. id, cmsgpack.pack({now, outcomes[n]}), 'PX', 61000)
    end
  end
end
flush()
if wrote and ARGV[2] ~= '' then call('SET', asked, cmsgpack.pack({ARGV[3], outcomes}), 'PX', 120000) end
return {now, pos, writes, era, outcomes}
