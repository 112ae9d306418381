-- How work goes to a worker that waits: a commit that makes something ready leases it at once, and tells the worker. Nothing
-- else is different: it is the lease that the worker's own claim would have got a moment later.
--
-- Only workers that hold nothing offer themselves, each by a claim that found nothing, and for a moment: until OFFERED_MS
-- have passed, or they were given something. Whoever has no connection any more on which to hear is passed over. What a
-- worker was given and has not heard of, its next claim tells.

local missed_by, offer, withdraw, hand_over, tell
do

local OFFERED_MS = 2000

-- What was handed over after the number that the worker has heard of last, as far as it is still its own: it is leased
-- from now on. A worker that has not heard of one is not given another.
function missed_by(worker, heard, lease_end)
  local former = call('GET', P .. 'given:' .. worker)
  local kept = former and unpacked(former)
  if not kept or kept[1] <= heard then return {}, heard end
  local ids = {}
  for n = 2, #kept, 2 do
    local row = task(kept[n])
    if row and row[S] == 'running' and row[T] == kept[n + 1] and row[O] == worker and row[STANDS] == 0 and row[DUE_AT] > now then
      set_end(kept[n], row, lease_end)
      ids[#ids + 1] = kept[n]
    end
  end
  return ids, kept[1]
end

-- As long as any of them may still offer itself: the queue of a run that is over leaves no key.
local function wait_in(queue, ...)
  call('SADD', P .. 'idle:' .. queue, ...)
  call('PEXPIRE', P .. 'idle:' .. queue, OFFERED_MS)
end

-- Let a worker be given what comes to these lanes.
function offer(worker, worker_json, slots, lease, queues, handlers, number)
  local known = {}
  for _, handler in ipairs(handlers) do known[handler] = true end
  call('SET', P .. 'offer:' .. worker, pack({worker_json, slots, lease, known, number}), 'PX', OFFERED_MS)
  for _, queue in ipairs(queues) do wait_in(queue, worker) end
end

function withdraw(worker) call('DEL', P .. 'offer:' .. worker) end

-- The offer of a worker, if it stands and the worker can hear.
local function offer_of(worker)
  local packed = call('GET', P .. 'offer:' .. worker)
  if not packed or call('PUBSUB', 'NUMSUB', P .. 'given:' .. worker)[2] == 0 then return end
  return unpacked(packed)
end

local handed -- what was handed over in this call: worker, number, ids, worker, ...
opened[#opened + 1] = function() handed = nil end

-- Lease what was roused in a queue to a worker that waits for such; how many tasks.
local function hand_to(worker, standing, queue, most)
  local handlers = {}
  for handler in pairs(roused[queue]) do
    if standing[4][handler] then handlers[#handlers + 1] = handler end
  end
  if #handlers == 0 then return 0 end
  -- The worker counts from when it hears of it, and not from now: hence the time for which its offer stood, too.
  local lease_end = now + standing[3] + OFFERED_MS * 1000
  local ids = lease_ready(sources_of({queue}, handlers, false), math.min(standing[2], most), worker, standing[1], lease_end)
  if #ids == 0 then return 0 end
  withdraw(worker)
  handed = handed or {}
  local at = #handed
  handed[at + 1], handed[at + 2], handed[at + 3] = worker, standing[5] > 0 and standing[5] + 1 or now, ids
  return #ids
end

-- Hand what became ready over to workers that wait, in equal parts; what is left is for those who are told to look.
function hand_over()
  local queues = {} -- more may be roused meanwhile
  for queue in pairs(roused) do queues[#queues + 1] = queue end
  for _, queue in ipairs(queues) do
    local left, waiting, others = 0, call('SCARD', P .. 'idle:' .. queue), {}
    for _, count in pairs(waiting > 0 and roused[queue] or NOTHING) do left = left + count end
    local part = math.ceil(left / math.max(1, waiting))
    for _ = 1, left > 0 and waiting or 0 do
      local worker = call('SPOP', P .. 'idle:' .. queue)
      local standing = worker and offer_of(worker)
      local given = standing and hand_to(worker, standing, queue, part) or 0
      if standing and given == 0 then others[#others + 1] = worker end
      left = left - given
      if left <= 0 then
        roused[queue] = nil
        break
      end
    end
    if #others > 0 then wait_in(queue, unpack(others)) end
  end
end

-- Tell the workers, once all is written.
function tell()
  for n = 1, #(handed or NOTHING), 3 do
    local worker, number, ids = handed[n], handed[n + 1], handed[n + 2]
    local key, kept, told = P .. 'given:' .. worker, {number}, {number}
    for m, id in ipairs(ids) do
      kept[2 * m], kept[2 * m + 1] = id, rows[id][T]
      told[m + 1] = whole(id, rows[id])
    end
    call('SET', key, pack(kept), 'PX', 120000)
    call('PUBLISH', key, pack(told))
  end
end

end
