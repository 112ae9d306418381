-- Leases what is due in the lanes of a claim, lowest rank first.
--
-- ARGV: time, client, number of the call, id ('' or '=' and the id), worker, worker as JSON, slots, microseconds of the
-- lease, queues (count, names), handlers (count, names), 1 for those alone that are to end. Answers {time, pos, writes, era, tasks}.

local id = ARGV[4] ~= '' and string.sub(ARGV[4], 2)
local worker, worker_json = ARGV[5], ARGV[6]
local slots, lease_end = tonumber(ARGV[7]), now + tonumber(ARGV[8])
local PROMOTED_AT_ONCE, MOVED_AT_ONCE = 1000, 1000

-- What the last call leased, as far as it still is, if this one asks for its reply again: its ids and tokens are kept.
local function leased_before()
  local former = ARGV[2] ~= '' and call('GET', P .. 'c:' .. ARGV[2])
  local kept = former and unpacked(former)
  if not kept or kept[1] ~= ARGV[3] then return end -- guard: a claim is made once
  local tasks = {}
  for n = 2, #kept, 2 do
    local row = task(kept[n])
    if row and row.s == 'running' and row.t == kept[n + 1] then tasks[#tasks + 1] = whole(kept[n], row) end
  end
  return tasks
end

-- What was answered to a claim of the same id.
local function answered_before()
  local former = id and call('GET', P .. 'a:c:' .. id)
  local kept = former and unpacked(former)
  return kept and kept[1] > now - 60000000 and kept[2] -- guard: the same id is answered once
end

local before = leased_before() or answered_before()
if before then
  flush()
  return {now, pos, writes, era, before}
end

-- Make ready what became due meanwhile, in whatever lane.
local function promote()
  local lines, ids = {}, {}
  for n, who in ipairs(call('ZRANGEBYSCORE', P .. 'due', '-inf', text(now), 'LIMIT', 0, PROMOTED_AT_ONCE)) do
    ids[n] = id_of(who)
  end
  look_at(ids)
  for _, id in ipairs(ids) do
    local row = task(id)
    move(id, row, ready_of(row))
    if row.l then lines[place_of(row.l, lane_of(row))] = {row.l, lane_of(row)} end
  end
  for _, line in pairs(lines) do step(line[1], line[2]) end
end

local sources = {}
local function add_sources()
  local at = 9
  local queues, handlers, shut = {}, {}, {}
  for n = 1, tonumber(ARGV[at]) do queues[n] = ARGV[at + n] end
  at = at + #queues + 1
  for n = 1, tonumber(ARGV[at]) do handlers[n] = ARGV[at + n] end
  local ending_only = ARGV[at + #handlers + 1] == '1'
  for _, handler in ipairs(call('SMEMBERS', P .. 'closed')) do shut[handler] = true end
  for _, queue in ipairs(queues) do
    for _, handler in ipairs(handlers) do
      local lane = #queue .. ':' .. queue .. ':' .. handler
      sources[#sources + 1] = {P .. 'ending:' .. lane, false}
      if not (ending_only or shut[handler]) then sources[#sources + 1] = {P .. 'ready:' .. lane, true} end
    end
  end
end

local function candidates(count)
  local found, ids = {}, {}
  settle()
  local pages = 0
  for _, source in ipairs(sources) do
    local page = call('ZRANGE', source[1], 0, count - 1, 'WITHSCORES')
    for n = 1, #page, 2 do
      ids[#ids + 1] = id_of(page[n])
      found[#found + 1] = {tonumber(page[n + 1]), page[n], source[2], ids[#ids]}
    end
    if #page > 0 then pages = pages + 1 end
  end
  look_at(ids)
  if pages < 2 then return found end
  table.sort(found, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
  return found
end

-- Take the places of the first of a line; if one is not free, it goes to that line. The next steps forward.
local function try_places(id, row)
  local line, lane, full = row.l, lane_of(row), full_key(row)
  unstand(id, row)
  touch(id, row)
  if full then
    row.r, row.l = 2, full
  else
    row.r, row.d = 0, nil
    take_places(row)
  end
  stand(id, row)
  if full ~= line then step(line, lane) end
  return not full
end

local RUNNING = P .. 'i:state:running'
local WORKER = '{"worker":' .. worker_json .. ',"token":'

local function lease(id, row)
  unstand(id, row)
  if row.s == 'running' then
    row.de = row.de + 1
  else
    zrem(P .. 'i:state:' .. row.s, id)
    zadd(RUNNING, row.n, id)
  end
  row.s, row.o, row.t, row.r, row.d, row.wa, row.up = 'running', worker, row.t + 1, 0, lease_end, nil, now
  stand(id, row) -- guard: what is leased is due when its lease ends
  if row.p == 2 then zadd(P .. 'leases', row.d, member(id, row)) end
  touch(id, row)
  local data = WORKER .. row.t .. ',"deliveries":' .. row.de .. '}'
  append(id, 'task.claimed', 'info', nil, data, row.ag, row.se)
end

local function claim()
  local leased, moved, again = {}, 0, true
  while again and #leased < slots and moved < MOVED_AT_ONCE do
    again = false
    for _, one in ipairs(candidates(slots - #leased)) do
      local id = one[4]
      local row = task(id)
      row.who = one[2]
      if #leased == slots then break end
      local fits = true
      if one[3] and row.l then
        fits, again, moved = try_places(id, row), true, moved + 1
      end
      if fits then
        lease(id, row)
        leased[#leased + 1] = id
      end
      if again then break end -- others may have stepped forward
    end
  end
  return leased
end

free_expired()
promote()
local tasks = {}
add_sources()
local leased = slots > 0 and claim() or {}
flush()
local kept = {ARGV[3]}
for n, id in ipairs(leased) do
  tasks[n] = whole(id, rows[id])
  kept[2 * n], kept[2 * n + 1] = id, rows[id].t
end
if #tasks > 0 and ARGV[2] ~= '' then call('SET', P .. 'c:' .. ARGV[2], pack(kept), 'PX', 120000) end
if id then call('SET', P .. 'a:c:' .. id, pack({now, tasks}), 'PX', 61000) end
return {now, pos, writes, era, tasks}
