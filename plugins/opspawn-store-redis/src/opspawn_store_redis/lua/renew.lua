-- Prolongs leases that nobody claimed meanwhile, even if they had run out, as far as their places are still free; or gives
-- them up.
--
-- ARGV: time, worker, microseconds of the lease ('' to give up), leases (count, then task and token of each).
-- Answers {time, pos, writes, era, {kept, wakes}, ...}.

do

-- Take the places that a lease lost when it ran out; false if one is not free.
local function take_again(id, row)
  if full_key(row) then return false end
  local line, lane = row[L], lane_of(row)
  unstand(id, row)
  row[STANDS], row[DUE_AT] = 0, false
  take_places(row)
  step(line, lane)
  return true
end

function ops.renew()
  local worker, lease = ARGV[2], tonumber(ARGV[3])
  free_expired()
  local answer = {}
  for n = 5, 4 + 2 * tonumber(ARGV[4]), 2 do
    local id = ARGV[n]
    local row = task(id)
    local kept = row and row[S] == 'running' and row[T] == tonumber(ARGV[n + 1]) and row[O] == worker
    if kept and lease and row[L] and row[HAS] ~= 2 and not row[C] then kept = take_again(id, row) end
    if kept then set_end(id, row, now + (lease or 0)) end
    answer[#answer + 1] = {kept and 1 or 0, row and row[W] or 0}
  end
  flush()
  return {now, pos, writes, era, answer}
end

end
