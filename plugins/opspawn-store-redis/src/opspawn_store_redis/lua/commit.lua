-- Applies a group of batches, each all or nothing, in their order.
--
-- ARGV: time, client, number of the call, large values by digest (packed, or ''), batches (each packed: id, operations).
-- Answers {time, pos, writes, era, outcomes}, the last packed: {1, versions, positions, time, newest position} or
-- {0, operation, why, more} for each batch.

local function run(operations)
  local seen = {tasks = {}, others = {}}
  for n, op in ipairs(operations) do
    local why, more
    if check[op.sort] then why, more = check[op.sort](op, seen) end
    if why then return {0, n - 1, why, more or ''} end
  end
  local versions, positions = {}, {}
  for _, op in ipairs(operations) do
    local sort, number = apply[op.sort](op)
    if sort == 'version' then versions[#versions + 1] = number end
    if sort == 'position' then positions[#positions + 1] = number end
  end
  return {1, versions, positions, now, pos}
end

local function remembered(id)
  local kept = id and call('GET', P .. 'a:b:' .. id)
  kept = kept and unpacked(kept)
  return kept and kept[1] > now - 60000000 and kept[2] -- guard: the same id is applied once
end

local asked = P .. 'c:' .. ARGV[2]
local former = ARGV[2] ~= '' and call('GET', asked)
if former then
  local number, outcomes = string.match(former, '^(%d+):(.*)$')
  if number == ARGV[3] then -- guard: what was applied before its reply was lost is not applied again
    flush()
    return {now, pos, writes, era, outcomes}
  end
end

local batches, ids = {}, {}
for n = 5, #ARGV do
  batches[n - 4] = unpacked(ARGV[n])
  for _, op in ipairs(batches[n - 4][2]) do
    if op.id and not op.kind then ids[#ids + 1] = op.id end
  end
end
look_at(ids)
local outcomes = {}
for n, batch in ipairs(batches) do
  local id = batch[1]
  outcomes[n] = remembered(id)
  if not outcomes[n] then
    outcomes[n] = run(batch[2])
    if id and outcomes[n][1] == 1 then call('SET', P .. 'a:b:' .. id, pack({now, outcomes[n]}), 'PX', 61000) end
  end
end
flush()
-- A hint for the wakers `redis` and `arq`, if they use this namespace: whoever waits is awake before the caller has its reply.
for queue in pairs(roused) do
  if call('LLEN', P .. 'wake:' .. queue) == 0 then call('LPUSH', P .. 'wake:' .. queue, '1') end
end
outcomes = pack(outcomes)
if wrote and ARGV[2] ~= '' then call('SET', asked, ARGV[3] .. ':' .. outcomes, 'PX', 120000) end
return {now, pos, writes, era, outcomes}
