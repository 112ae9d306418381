-- How a worker gets tasks: those of some lanes that are ready, lowest rank first, within all limits.

local MOVED_AT_ONCE = 1000

-- The lanes of queues and handlers, as sources of `lease_ready`; those for tasks that are to end alone, or all.
local function sources_of(queues, handlers, ending_only)
  local sources, shut = {}, {}
  for _, handler in ipairs(call('SMEMBERS', P .. 'closed')) do shut[handler] = true end
  for _, queue in ipairs(queues) do
    for _, handler in ipairs(handlers) do
      local lane = #queue .. ':' .. queue .. ':' .. handler
      sources[#sources + 1] = {ENDING .. lane, false}
      if not (ending_only or shut[handler]) then sources[#sources + 1] = {READY .. lane, true} end
    end
  end
  return sources
end

local function candidates(sources, count)
  local found, ids = {}, {}
  settle()
  local pages = 0
  for _, source in ipairs(sources) do
    local page = call('ZRANGE', source[1], 0, count - 1, 'WITHSCORES')
    local at = #ids
    for n = 1, #page, 2 do
      local who = page[n]
      local id = id_of(who)
      at = at + 1
      ids[at], found[at] = id, {page[n + 1], who, source[2], id}
    end
    if #page > 0 then pages = pages + 1 end
  end
  look_at(ids)
  if pages < 2 then return found end
  for _, one in ipairs(found) do one[1] = tonumber(one[1]) end
  table.sort(found, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
  return found
end

-- Take the places of the first of a line; if one is not free, it goes to that line. The next steps forward.
local function try_places(id, row)
  local line, lane, full = row[L], lane_of(row), full_key(row)
  unstand(id, row)
  touch(id, row)
  if full then
    row[STANDS], row[L] = 2, full
  else
    row[STANDS], row[DUE_AT] = 0, false
    take_places(row)
  end
  stand(id, row)
  if full ~= line then step(line, lane) end
  return not full
end

local lease
do

-- Tokens and deliveries are small: their numerals are made once.
local numerals = {}
local function numeral(number)
  if number > 100 then return text(number) end
  local numeral = numerals[number]
  if not numeral then
    numeral = text(number)
    numerals[number] = numeral
  end
  return numeral
end

function lease(id, row, worker, worker_json, lease_end)
  unstand(id, row)
  if row[S] == 'running' then
    row[DE] = row[DE] + 1
  else
    change('state', id, row[SEQ], row[S], 'running')
  end
  row[S], row[O], row[T], row[STANDS], row[DUE_AT], row[WA], row[UP] = 'running', worker, row[T] + 1, 0, lease_end, false, now
  stand(id, row) -- guard: what is leased is due when its lease ends
  if row[HAS] == 2 then zadd(LEASES, row[DUE_AT], member(id, row)) end
  touch(id, row)
  local data = '{"worker":' .. worker_json .. ',"token":' .. numeral(row[T]) .. ',"deliveries":' .. numeral(row[DE]) .. '}'
  append(id, 'task.claimed', 'info', nil, data, row[AG], row[SE])
end

end

-- Let a lease end at another time.
local function set_end(id, row, lease_end)
  unstand(id, row)
  row[STANDS], row[DUE_AT] = 0, lease_end
  stand(id, row)
  if row[HAS] == 2 then zadd(LEASES, row[DUE_AT], member(id, row)) end
  touch(id, row)
end

-- Lease at most so many tasks of these sources to a worker; their ids.
local function lease_ready(sources, slots, worker, worker_json, lease_end)
  local leased, moved, again = {}, 0, true
  while again and #leased < slots and moved < MOVED_AT_ONCE do
    again = false
    local found = candidates(sources, slots - #leased)
    for n = 1, #found do
      local one = found[n]
      local id = one[4]
      local row = task(id)
      row[WHO] = one[2]
      if #leased == slots then break end
      local fits = true
      if one[3] and row[L] then
        fits, again, moved = try_places(id, row), true, moved + 1
      end
      if fits then
        lease(id, row, worker, worker_json, lease_end)
        leased[#leased + 1] = id
      end
      if again then break end -- others may have stepped forward
    end
  end
  return leased
end
