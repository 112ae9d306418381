-- What functions that write share: where tasks stand, concurrency keys, and the end.

local TERMINAL = {succeeded = true, failed = true, cancelled = true}

-- Changes of sorted sets wait until they are written, a set with all of its changes in one command: by key, the score of
-- each member, or false where it is to go. Whoever reads a set calls `settle` before.
local pending

local function zadd(key, score, who)
  local changes = pending[key]
  if not changes then
    changes = {}
    pending[key] = changes
  end
  changes[who] = score
end

local function zrem(key, who) zadd(key, false, who) end

-- The words of one command at a time, in tables that are there for good.
local added, removed = {}, {}

local function settle()
  if not next(pending) then return end
  for key, changes in pairs(pending) do
    local n, m = 0, 0
    for who, score in pairs(changes) do
      if score then
        added[n + 1], added[n + 2], n = score, who, n + 2
      else
        removed[m + 1], m = who, m + 1
      end
    end
    in_pieces('ZREM', key, removed, m)
    in_pieces('ZADD', key, added, n)
  end
  pending = {}
end

-- A server that was started, or took over, goes on in a new era: whoever knows the one before asks what was kept of it. Its
-- name ends with that of the run of the server, by which it is told apart what another library here began, and what another
-- server did, from which this one took over.
local begin_era, goes_on
do
local begun, run = {}, nil -- by namespace, the era that goes on, as far as it is known since this library was loaded

function begin_era(kept)
  if era ~= '' then call('HSET', P .. 'eras', era, text(kept)) end
  run = run or string.match(call('INFO', 'server'), 'run_id:(%w%w%w%w%w%w%w%w)')
  era = text(now) .. '.' .. text(writes) .. '.' .. run
  begun[P] = era
end

function goes_on()
  if begun[P] == era then return true end
  if not begun[P] or sub(era, -#run) ~= run then return false end
  begun[P] = era
  return true
end
end

local function flush()
  write_lines()
  note_positions()
  settle()
  if not goes_on() then begin_era(writes) end -- guard: a server that lost writes is noticed by all who saw them
  if wrote then writes = writes + 1 end
  -- Even what was only looked at must not become younger than this.
  local texts, n = {P .. 'meta', pack(layout, era, now, ahead, seq, pos, writes)}, 2
  for id, row in pairs(touched) do
    row[WHO] = false
    raws[id] = pack(row)
    texts[n + 1], texts[n + 2], n = P .. 't:' .. id, raws[id], n + 2
  end
  for first = 1, n, 2000 do call('MSET', unpack(texts, first, math.min(first + 1999, n))) end
end

local function touch(id, row)
  rows[id], touched[id], wrote = row, row, true
end

-- Where a task stands --------------------------------------------------------------------------------------------------

local DUE, READY, ENDING, LINE, TASKS, ENDED, LEASES -- keys
local lanes
local roused -- by queue and handler, how often something was made ready to be claimed

opened[#opened + 1] = function(moved)
  pending, lanes, roused = {}, {}, {}
  if moved then
    DUE, READY, ENDING, LINE = P .. 'due', P .. 'ready:', P .. 'ending:', P .. 'line:'
    TASKS, ENDED, LEASES = P .. 'tasks', P .. 'ended', P .. 'leases'
  end
end

local function lane_of(row)
  local of_queue = lanes[row[Q]]
  if not of_queue then
    of_queue = {}
    lanes[row[Q]] = of_queue
  end
  local lane = of_queue[row[H]]
  if not lane then
    lane = #row[Q] .. ':' .. row[Q] .. ':' .. row[H]
    of_queue[row[H]] = lane
  end
  return lane
end

local function place_of(key, lane) return #key .. ':' .. key .. ':' .. lane end
local function rank_of(row) return row[DUE_AT] - row[HS] end

local function rouse(queue, handler)
  local of_queue = roused[queue]
  if not of_queue then
    of_queue = {}
    roused[queue] = of_queue
  end
  of_queue[handler] = (of_queue[handler] or 0) + 1
end

local function stand(id, row)
  if row[STANDS] == 0 then
    if row[DUE_AT] then zadd(DUE, row[DUE_AT], member(id, row)) end
    return
  end
  local who, lane = member(id, row), lane_of(row)
  if row[STANDS] ~= 2 then rouse(row[Q], row[H]) end
  if row[STANDS] == 1 then
    zadd(READY .. lane, rank_of(row), who)
    if row[L] then call('HSET', P .. 'shown', place_of(row[L], lane), who) end
  elseif row[STANDS] == 2 then
    zadd(LINE .. place_of(row[L], lane), rank_of(row), who)
    call('SADD', P .. 'lanes:' .. row[L], lane)
  else
    zadd(ENDING .. lane, rank_of(row), who)
  end
end

local function unstand(id, row)
  if row[STANDS] == 0 then
    if row[DUE_AT] then zrem(DUE, member(id, row)) end
    return
  end
  local who, lane = member(id, row), lane_of(row)
  if row[STANDS] == 1 then
    zrem(READY .. lane, who)
    if row[L] then call('HDEL', P .. 'shown', place_of(row[L], lane)) end
  elseif row[STANDS] == 2 then
    zrem(LINE .. place_of(row[L], lane), who)
  else
    zrem(ENDING .. lane, who)
  end
end

local function ready_of(row)
  if row[C] then return 3 end
  return row[L] and 2 or 1
end

local function move(id, row, ready)
  unstand(id, row)
  row[STANDS] = ready
  stand(id, row)
  touch(id, row)
end

-- Concurrency keys -----------------------------------------------------------------------------------------------------
-- A task that is due and lacks a place stands in the line of one key that it needs, apart for each lane, by rank. Of each
-- line whose key has room, the first stands among the ready in the name of all: so a claim meets one task per line.

local function room(key, limit)
  return tonumber(call('HGET', P .. 'held', key) or 0) < limit -- guard: no more places than the limit
end

local function has_place(row, key)
  for n = 1, #(row[PL] or {}), 2 do
    if row[PL][n] == key then return true end
  end
  return false
end

-- The first key that has no room for a task; nil if all have.
local function full_key(row)
  for n = 1, #(row[HO] or {}), 3 do
    if not has_place(row, row[HO][n]) and not room(row[HO][n], row[HO][n + 1]) then return row[HO][n] end
  end
end

-- Let the first of a line stand among the ready if its key has room; true then.
local function step(key, lane)
  settle()
  local place = place_of(key, lane)
  local waiting = call('ZRANGE', LINE .. place, 0, 0)[1]
  local shown = call('HGET', P .. 'shown', place)
  if not waiting and not shown then
    call('SREM', P .. 'lanes:' .. key, lane)
    return false
  end
  local first = shown
  if waiting then
    local row, other = task(id_of(waiting)), shown and task(id_of(shown))
    if not other or rank_of(row) < rank_of(other) or (rank_of(row) == rank_of(other) and waiting < shown) then
      first = waiting
    end
  end
  local row = task(id_of(first))
  local fits = false
  for n = 1, #(row[HO] or {}), 3 do
    fits = fits or (row[HO][n] == key and room(key, row[HO][n + 1]))
  end
  if not fits then return false end
  if first == waiting then
    if shown then move(id_of(shown), task(id_of(shown)), 2) end
    move(id_of(first), row, 1)
  end
  return true
end

-- Give a task its places, which must be free.
local function take_places(row)
  local places, passing = row[PL] or {}, nil
  for n = 1, #row[HO], 3 do
    local key, lasting = row[HO][n], row[HO][n + 2]
    if not has_place(row, key) then
      places[#places + 1] = key
      places[#places + 1] = lasting
      call('HINCRBY', P .. 'held', key, 1)
    end
    if lasting == 0 then passing = passing or key end
  end
  row[PL], row[HAS], row[L] = places, passing and 2 or 1, passing or false
end

-- Free the places of a task that end with its claim, or all of them, and let those who wait step forward.
local function leave_places(id, row, all)
  local kept, freed = {}, {}
  for n = 1, #(row[PL] or {}), 2 do
    local key, lasting = row[PL][n], row[PL][n + 1]
    if all or lasting == 0 then
      freed[#freed + 1] = key
      if call('HINCRBY', P .. 'held', key, -1) == 0 then call('HDEL', P .. 'held', key) end
    else
      kept[#kept + 1] = key
      kept[#kept + 1] = lasting
    end
  end
  if row[HAS] == 2 then zrem(LEASES, member(id, row)) end
  row[PL], row[HAS] = #kept > 0 and kept, #kept > 0 and 1
  touch(id, row)
  for _, key in ipairs(freed) do
    for _, lane in ipairs(call('SMEMBERS', P .. 'lanes:' .. key)) do step(key, lane) end
  end
end

local function free_expired()
  for _, who in ipairs(call('ZRANGEBYSCORE', LEASES, '-inf', text(now), 'LIMIT', 0, 1000)) do
    leave_places(id_of(who), task(id_of(who)), false) -- guard: a lease that ran out holds nothing
  end
end
