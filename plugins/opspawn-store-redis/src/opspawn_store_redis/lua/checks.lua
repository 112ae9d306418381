-- What a commit checks: nothing is written before a whole batch was found to hold. `seen` is what the operations of the batch
-- before would have left (of tasks by their ids, of other things by what they are). A check gets `n`, under which it may keep
-- for `apply` what it found out, in `found`; and the first words of its operation, in the order of encoding.py.

local records
local function record_key(kind, id) return #kind .. ':' .. kind .. ':' .. id end

local function record(kind, id)
  local key = record_key(kind, id)
  if records[key] == nil then
    local packed = call('HGET', P .. 'rec:' .. key, 'k')
    records[key] = packed and unpacked(packed) or false
  end
  return records[key]
end

-- Most batches put one task: what became of the last that was put is in one row, and tables are made for more alone.
local seen = {put = {}}

local function begin_batch() seen.id, seen.tasks, seen.others, seen.pos = false, NOTHING, NOTHING, false end

local function task_in(id)
  if seen.id == id then return seen.put end
  local known = seen.tasks[id]
  if known == nil then return task(id) end
  return known
end

local function see_task(id, row)
  if seen.tasks == NOTHING then seen.tasks = {} end
  seen.tasks[id] = row
end

local function see_put(id, state, version, token)
  local put = seen.put
  if seen.id then see_task(seen.id, {-1, 0, put[S], put[V], put[T]}) end
  seen.id, put[S], put[V], put[T] = id, state, version, token
end

local function see(key, value)
  if seen.others == NOTHING then seen.others = {} end
  seen.others[key] = value
end

local check, found = {}, nil -- what a check found out, by the number of its operation

opened[#opened + 1] = function() records, found = {}, {} end

function check.put(n, id, expect, token, state)
  local row = task_in(id)
  if expect == 0 then
    if token then return 'claimless' end
    if row then return 'exists' end
    see_put(id, state, 1, 0)
    return
  end
  if not row then return 'absent' end
  if TERMINAL[row[S]] then return 'ended', row[S] end -- guard: an end is final
  if row[V] ~= expect then return 'version', row[V] end -- guard: nobody overwrites what they have not read
  if token == nil then
    if row[S] == 'running' then return 'running' end
  elseif token ~= row[T] or row[S] ~= 'running' then -- guard: the fence of a Put
    return 'over'
  end
  see_put(id, state, row[V] + 1, row[T] + (token and 1 or 0))
end

function check.append(n, id, token)
  if token then
    local row = task_in(id)
    if not row or row[T] ~= token or row[S] ~= 'running' then return 'over' end -- guard: the fence of an Append
  end
end

function check.take(n, name, amount, unit, burst, force)
  local key = 'f' .. name
  local full = math.max(now, seen.others[key] or tonumber(call('HGET', P .. 'rates', name) or 0))
  local after = full + amount * unit
  if amount > 0 and not force then
    local over = after - now - math.max(burst, amount) * unit
    if over > 0.5 then return 'limited', fmt('%.3f', over) end
  end
  found[n] = after
  see(key, after)
end

local function version_in(key, kind, id)
  if seen.others[key] ~= nil then return seen.others[key] end
  local row = record(kind, id)
  return row and row[V] or 0
end

function check.record(n, kind, id, expect)
  local key = 'r' .. record_key(kind, id)
  local version = version_in(key, kind, id)
  if version ~= expect then return version == 0 and 'absent' or (expect == 0 and 'exists' or 'version'), version end
  see(key, version + 1)
end

function check.stands(_, kind, id, expect)
  local version = version_in('r' .. record_key(kind, id), kind, id)
  if version ~= expect then return version == 0 and 'absent' or (expect == 0 and 'exists' or 'version'), version end
end

function check.unrecord(n, kind, id, expect)
  local key = 'r' .. record_key(kind, id)
  local version = version_in(key, kind, id)
  if version == 0 or version ~= expect then return 'version', version end
  see(key, 0)
end

function check.forget(n, id, expect)
  local row = task_in(id)
  if not row or row[V] ~= expect then return 'version', row and row[V] or 0 end
  if not TERMINAL[row[S]] then return 'alive' end
  if seen.id == id then seen.id = false end
  see_task(id, false)
end

function check.remove(n, position, expect)
  local entry = position > 0 and entry_at(position)
  if not entry or unpacked(entry[2][2])[1] or expect ~= 0 or seen.others[position] then return 'apart' end
  see(position, true)
  found[n] = position
end
