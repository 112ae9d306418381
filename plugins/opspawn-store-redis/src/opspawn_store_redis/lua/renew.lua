-- Prolongs leases that nobody claimed meanwhile, even if they had run out, as far as their places are still free; or gives
-- them up.
--
-- ARGV: time, worker, microseconds of the lease ('' to give up), leases (count, then task and token of each).
-- Answers {time, pos, writes, era, {kept, wakes}, ...}.

local worker, lease = ARGV[2], tonumber(ARGV[3])

local function set_end(id, row)
  unstand(id, row)
  row.r, row.d = 0, now + (lease or 0)
  stand(id, row)
  if row.p == 2 then zadd(P .. 'leases', row.d, member(id, row)) end
  touch(id, row)
end

-- Take the places that a lease lost when it ran out; false if one is not free.
local function take_again(id, row)
  if full_key(row) then return false end
  local line, lane = row.l, lane_of(row)
  unstand(id, row)
  row.r, row.d = 0, nil
  take_places(row)
  step(line, lane)
  return true
end

free_expired()
local answer = {}
for n = 5, 4 + 2 * tonumber(ARGV[4]), 2 do
  local id = ARGV[n]
  local row = task(id)
  local kept = row and row.s == 'running' and row.t == tonumber(ARGV[n + 1]) and row.o == worker
  if kept and lease and row.l and row.p ~= 2 and not row.c then kept = take_again(id, row) end
  if kept then set_end(id, row) end
  answer[#answer + 1] = {kept and 1 or 0, row and row.w or 0}
end
flush()
return {now, pos, writes, era, answer}
