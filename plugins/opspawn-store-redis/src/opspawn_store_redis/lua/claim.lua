-- Leases what is due in the lanes of a claim, lowest rank first.
--
-- ARGV: time, client, number of the call, id ('' or '=' and the id), worker, worker as JSON, slots, microseconds of the
-- lease, queues (count, names), handlers (count, names), 1 for those alone that are to end, '+' to be given work from now on, '-' not
-- to be any more ('' was not), and the number of what was given last. Answers {time, pos, writes, era, tasks, number}.

do

local PROMOTED_AT_ONCE = 1000

-- What the last call leased, as far as it still is, if this one asks for its reply again: its ids and tokens are kept.
local function leased_before()
  local former = ARGV[2] ~= '' and call('GET', P .. 'c:' .. ARGV[2])
  local kept = former and unpacked(former)
  if not kept or kept[1] ~= ARGV[3] then return end -- guard: a claim is made once
  local tasks = {}
  for n = 3, #kept, 2 do
    local row = task(kept[n])
    if row and row[S] == 'running' and row[T] == kept[n + 1] then tasks[#tasks + 1] = whole(kept[n], row) end
  end
  return tasks, kept[2]
end

-- What was answered to a claim of the same id.
local function answered_before(id)
  local former = id and call('GET', P .. 'a:c:' .. id)
  local kept = former and unpacked(former)
  return kept and kept[1] > now - 60000000 and kept[2] -- guard: the same id is answered once
end

-- Make ready what became due meanwhile, in whatever lane.
local function promote()
  local lines, ids = {}, {}
  for n, who in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', text(now), 'LIMIT', 0, PROMOTED_AT_ONCE)) do
    ids[n] = id_of(who)
  end
  look_at(ids)
  for _, id in ipairs(ids) do
    local row = task(id)
    move(id, row, ready_of(row))
    if row[L] then lines[place_of(row[L], lane_of(row))] = {row[L], lane_of(row)} end
  end
  for _, line in pairs(lines) do step(line[1], line[2]) end
end

-- So many words of ARGV, and the place of the next.
local function words_at(at)
  local words = {}
  for n = 1, tonumber(ARGV[at]) do words[n] = ARGV[at + n] end
  return words, at + #words + 1
end

-- The ids of what is leased now, or was handed over; and the number of that.
local function claimed()
  local worker, worker_json, slots, lease = ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
  local queues, at = words_at(9)
  local handlers, rest = words_at(at)
  local offers, ids, number = ARGV[rest + 1], {}, 0
  if offers ~= '' then ids, number = missed_by(worker, tonumber(ARGV[rest + 2]), now + lease) end
  if slots > #ids then
    local sources = sources_of(queues, handlers, ARGV[rest] == '1')
    local more = lease_ready(sources, slots - #ids, worker, worker_json, now + lease)
    for n = 1, #more do ids[#ids + 1] = more[n] end
  end
  if offers == '+' and #ids == 0 and slots > 0 then
    offer(worker, worker_json, slots, lease, queues, handlers, number)
  elseif offers ~= '' then
    withdraw(worker)
  end
  return ids, number
end

function ops.claim()
  local id = ARGV[4] ~= '' and string.sub(ARGV[4], 2)
  local before, given = leased_before()
  before = before or answered_before(id)
  if before then
    flush()
    return {now, pos, writes, era, before, given or 0}
  end
  free_expired()
  promote()
  local leased, number = claimed()
  flush()
  local tasks, kept = {}, {ARGV[3], number}
  for n = 1, #leased do
    local id = leased[n]
    local row = rows[id]
    tasks[n], kept[2 * n + 1], kept[2 * n + 2] = whole(id, row), id, row[T]
  end
  if #tasks > 0 and ARGV[2] ~= '' then call('SET', P .. 'c:' .. ARGV[2], pack(kept), 'PX', 120000) end
  if id then call('SET', P .. 'a:c:' .. id, pack({now, tasks}), 'PX', 61000) end
  return {now, pos, writes, era, tasks, number}
end

end
