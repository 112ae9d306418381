-- What a commit checks: nothing is written before a whole batch was found to hold. `seen` is what the operations before
-- would have left: of tasks by their ids, of other things by what they are.

local records = {}
local function record_key(kind, id) return #kind .. ':' .. kind .. ':' .. id end

local function record(kind, id)
  local key = record_key(kind, id)
  if records[key] == nil then
    local packed = call('HGET', P .. 'rec:' .. key, 'k')
    records[key] = packed and unpacked(packed) or false
  end
  return records[key]
end

local function task_in(seen, id)
  local known = seen.tasks[id]
  if known == nil then return task(id) end
  return known
end

local check = {}

function check.put(op, seen)
  local row = task_in(seen, op.id)
  if op.expect == 0 then
    if op.token then return 'claimless' end
    if row then return 'exists' end
    seen.tasks[op.id] = {v = 1, t = 0, s = op.row.s}
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
  seen.tasks[op.id] = {v = row.v + 1, t = row.t + (op.token and 1 or 0), s = op.row.s}
end

function check.append(op, seen)
  if op.token then
    local row = task_in(seen, op.id)
    if not row or row.t ~= op.token or row.s ~= 'running' then return 'over' end -- guard: the fence of an Append
  end
end

function check.take(op, seen)
  local key = 'f' .. op.key
  local full = math.max(now, seen.others[key] or tonumber(call('HGET', P .. 'rates', op.key) or 0))
  local after = full + op.amount * op.unit
  if op.amount > 0 and not op.force then
    local over = after - now - math.max(op.burst, op.amount) * op.unit
    if over > 0.5 then return 'limited', fmt('%.3f', over) end
  end
  op.full, seen.others[key] = after, after
end

local function version_in(seen, key, op)
  if seen.others[key] ~= nil then return seen.others[key] end
  local row = record(op.kind, op.id)
  return row and row.v or 0
end

function check.record(op, seen)
  local key = 'r' .. record_key(op.kind, op.id)
  local version = version_in(seen, key, op)
  if version ~= op.expect then return version == 0 and 'absent' or (op.expect == 0 and 'exists' or 'version'), version end
  seen.others[key] = version + 1
end

function check.unrecord(op, seen)
  local key = 'r' .. record_key(op.kind, op.id)
  local version = version_in(seen, key, op)
  if version == 0 or version ~= op.expect then return 'version', version end
  seen.others[key] = 0
end

function check.forget(op, seen)
  local row = task_in(seen, op.id)
  if not row or row.v ~= op.expect then return 'version', row and row.v or 0 end
  if not TERMINAL[row.s] then return 'alive' end
  seen.tasks[op.id] = false
end

function check.remove(op, seen)
  local entry = op.position > 0 and entry_at(op.position)
  if not entry or unpacked(entry[2][2]).k or op.expect ~= 0 or seen.others[op.position] then return 'apart' end
  seen.others[op.position] = true
  op.entry = entry
end
