-- Applies a group of batches, each all or nothing, in their order.
--
-- ARGV of `commit`: time, client, number of the call, large values by digest (packed, or ''), tasks that are named (packed), batches
-- (packed: id or false, number of operations, ...), and each operation (packed: sort, and its words).
-- Answers {time, pos, writes, era, outcomes}, the last packed: {1, versions, positions, time, newest position} or
-- {0, operation, why, more} for each batch.

do

local function checked(seen, n, sort, ...)
  if check[sort] then return check[sort](seen, n, ...) end
end

local function applied(n, sort, ...) return apply[sort](n, ...) end

local function run(first, last)
  local seen = {tasks = {}, others = {}}
  for n = first, last do
    local why, more = checked(seen, n, unpacked(ARGV[n]))
    if why then return {0, n - first, why, more or ''} end
  end
  local versions, positions = {}, {}
  for n = first, last do
    local sort, number = applied(n, unpacked(ARGV[n]))
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

function ops.commit()
  local asked = P .. 'c:' .. ARGV[2]
  local former = ARGV[2] ~= '' and call('GET', asked)
  if former then
    local number, outcomes = string.match(former, '^(%d+):(.*)$')
    if number == ARGV[3] then -- guard: what was applied before its reply was lost is not applied again
      flush()
      return {now, pos, writes, era, outcomes}
    end
  end

  large = ARGV[4] ~= '' and unpacked(ARGV[4]) or NOTHING
  look_at(unpacked(ARGV[5]))
  local batches, first, outcomes = unpacked(ARGV[6]), 7, {}
  for n = 1, #batches / 2 do
    local id, last = batches[2 * n - 1], first + batches[2 * n] - 1
    local outcome = remembered(id)
    if not outcome then
      outcome = run(first, last)
      if id and outcome[1] == 1 then call('SET', P .. 'a:b:' .. id, pack({now, outcome}), 'PX', 61000) end
    end
    outcomes[n], first = outcome, last + 1
  end
  hand_over()
  flush()
  tell()
  -- A hint for the wakers `redis` and `arq`, if they use this namespace: whoever waits is awake before the caller has its reply.
  for queue in pairs(roused) do
    if call('LLEN', P .. 'wake:' .. queue) == 0 then call('LPUSH', P .. 'wake:' .. queue, '1') end
  end
  outcomes = pack(outcomes)
  if wrote and ARGV[2] ~= '' then call('SET', asked, ARGV[3] .. ':' .. outcomes, 'PX', 120000) end
  return {now, pos, writes, era, outcomes}
end

end
