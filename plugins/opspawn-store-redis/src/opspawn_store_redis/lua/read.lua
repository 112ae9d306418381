-- Looks at things by their ids.
--
-- ARGV: time, sort, then: "tasks", ids; "wakes", ids; "record", kind, id; "places", ids; "lines", positions; "state",
-- nothing; "journal", task, position after which, index to begin at, count.

function ops.read()
  local sort = ARGV[2]
  local answer = {}
  local asked = {}
  for n = 3, #ARGV do asked[n - 2] = ARGV[n] end
  if sort == 'tasks' then
    look_at(asked)
    for n, id in ipairs(asked) do answer[n] = task(id) and whole(id, task(id)) or 0 end
  elseif sort == 'wakes' then
    look_at(asked)
    for n, id in ipairs(asked) do answer[n] = task(id) and task(id)[W] or -1 end
  elseif sort == 'record' then
    local key = P .. 'rec:' .. #ARGV[3] .. ':' .. ARGV[3] .. ':' .. ARGV[4]
    local packed = call('HMGET', key, 'k', 'd')
    if packed[1] then
      local row = unpacked(packed[1])
      answer = {ARGV[4], row[V], row[CR], row[UP], row.f or false, packed[2], row[SEQ]}
    end
  elseif sort == 'places' then
    for n, id in ipairs(asked) do answer[n] = positions_of(id, task(id)) end
  elseif sort == 'lines' then
    for _, position in ipairs(asked) do answer[#answer + 1] = entry_at(tonumber(position)) end
  elseif sort == 'journal' then
    local id, after, at, count = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
    local listed = call('LRANGE', P .. 'j:' .. id, at, at + count - 1)
    for _, places in ipairs({noted(at == 0 and task(id) and task(id)[J]), listed}) do
      for _, place in ipairs(places) do
        if tonumber(place) > after then answer[#answer + 1] = entry_at(tonumber(place)) end
      end
    end
    return {#listed, answer}
  elseif sort == 'state' then
    return {now, pos, writes, era, seq}
  end
  return answer
end
