-- Applies a group of batches, each all or nothing, in their order.
--
-- ARGV of `commit`: time, client, number of the call, large values by digest (packed, or ''), tasks that are named (packed), batches
-- (packed: id or false, number of operations, ...), and each operation (packed: sort, and its words).
-- Answers {time, pos, writes, era, outcomes}, the last packed: the time, and for each batch 1 and what its Puts and Appends gave
-- (the newest position if it is empty); or {operation, why, more} if it was refused; or {versions, positions, time} if a batch of
-- its id was applied before. One list for all, since one for each would be made only to be packed.

do

-- A check looks at no more than the first words of an operation: see `check`.
local CHECKED = 6

local function checked(n, _, sort, ...)
  if check[sort] then return check[sort](n, ...) end
end

local function applied(n, sort, ...) return apply[sort](n, ...) end

-- Apply a batch, if it holds, and add to the outcomes what became of it; whether it did.
local function run(first, last, outcomes)
  begin_batch()
  local at = #outcomes + 1
  for n = first, last do
    local why, more = checked(n, unpack_limit(ARGV[n], CHECKED, 0))
    if why then
      outcomes[at] = {n - first, why, more or ''}
      return false
    end
  end
  outcomes[at] = 1
  for n = first, last do
    local number = applied(n, unpacked(ARGV[n]))
    if number then
      at = at + 1
      outcomes[at] = number
    end
  end
  if first > last then outcomes[at + 1] = pos end
  return true
end

-- What is remembered of a batch that was applied, whose outcomes begin after a place.
local function settled(first, last, outcomes, at)
  local versions, positions = {}, {}
  for n = first, last do
    local sort = unpacked(ARGV[n])
    local numbers = (sort == 'put' or sort == 'record') and versions or sort == 'append' and positions
    if numbers then
      at = at + 1
      numbers[#numbers + 1] = outcomes[at]
    end
  end
  return {versions, positions, now}
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
  local batches, first, outcomes = unpacked(ARGV[6]), 7, {now}
  for n = 1, #batches / 2 do
    local id, last = batches[2 * n - 1], first + batches[2 * n] - 1
    local before, at = remembered(id), #outcomes + 1
    if before then
      outcomes[at] = before
    elseif run(first, last, outcomes) and id then
      call('SET', P .. 'a:b:' .. id, pack({now, settled(first, last, outcomes, at)}), 'PX', 61000)
    end
    first = last + 1
  end
  hand_over()
  flush()
  tell()
  -- A hint for the wakers `redis` and `arq`, if they use this namespace: whoever waits is awake before the caller has its reply.
  for queue in pairs(roused) do
    local hints = P .. 'wake:' .. queue
    if call('LLEN', hints) == 0 then
      call('LPUSH', hints, '1')
      call('PEXPIRE', hints, 60000) -- the queue may be that of a run that is over
    end
  end
  outcomes = pack(outcomes)
  if wrote and ARGV[2] ~= '' then call('SET', asked, ARGV[3] .. ':' .. outcomes, 'PX', 120000) end
  return {now, pos, writes, era, outcomes}
end

end
