-- Looks at things by their ids.
--
-- ARGV: time, sort, then: "tasks", ids; "wakes", ids; "record", kind, id; "lines", positions; "state", nothing;
-- "journal", task, position after which, index to begin at, count.

local sort = ARGV[2]
local answer = {}
if sort == 'tasks' then
  for n = 3, #ARGV do
    local row = task(ARGV[n])
    answer[n - 2] = row and whole(ARGV[n], row) or 0
  end
elseif sort == 'wakes' then
  for n = 3, #ARGV do
    local row = task(ARGV[n])
    answer[n - 2] = row and row.w or -1
  end
elseif sort == 'record' then
  local key = P .. 'rec:' .. #ARGV[3] .. ':' .. ARGV[3] .. ':' .. ARGV[4]
  local packed = call('HMGET', key, 'k', 'd')
  if packed[1] then
    local row = cmsgpack.unpack(packed[1])
    answer = {ARGV[4], row.v, row.cr, row.up, row.f or false, packed[2], row.n}
  end
elseif sort == 'lines' then
  for n = 3, #ARGV do
    answer[#answer + 1] = call('XRANGE', P .. 'ev', ARGV[n] .. '-0', ARGV[n] .. '-0')[1] or nil
  end
elseif sort == 'journal' then
  local after, at, count = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  local places = call('LRANGE', P .. 'j:' .. ARGV[3], at, at + count - 1)
  for _, place in ipairs(places) do
    if tonumber(place) > after then
      answer[#answer + 1] = call('XRANGE', P .. 'ev', place .. '-0', place .. '-0')[1] or nil
    end
  end
  return {#places, answer}
elseif sort == 'state' then
  return {now, pos, writes, era, seq}
end
return answer
