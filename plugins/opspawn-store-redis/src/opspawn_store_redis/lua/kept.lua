-- Everything in the store, page by page; see `opspawn.contracts.moving`.
--
-- ARGV: time, sort, after (seq or position), count, and for "records" their kind. Answers a page: tasks, records, entries of the stream of events; or of "rest" what is none of these.

function ops.kept()
  local sort, after, count = ARGV[2], '(' .. ARGV[3], tonumber(ARGV[4])
  local page = {}
  if sort == 'tasks' then
    local ids = call('ZRANGEBYSCORE', P .. 'tasks', after, '+inf', 'LIMIT', 0, count)
    look_at(ids)
    for n, id in ipairs(ids) do page[n] = whole(id, task(id)) end
  elseif sort == 'records' then
    local kind = ARGV[5]
    for n, id in ipairs(call('ZRANGEBYSCORE', P .. 'recs:' .. kind, after, '+inf', 'LIMIT', 0, count)) do
      local packed = call('HMGET', P .. 'rec:' .. #kind .. ':' .. kind .. ':' .. id, 'k', 'd')
      local row = unpacked(packed[1])
      page[n] = {id, row[V], row[CR], row[UP], row.f or false, packed[2], row[SEQ]}
    end
  elseif sort == 'events' then
    repeat
      local entries = call('XRANGE', P .. 'ev', after .. '-0', '+', 'COUNT', math.ceil(count / 4))
      for _, entry in ipairs(entries) do
        each_of(entry, function(position, event)
          if position > tonumber(ARGV[3]) and not is_gone(position) then page[#page + 1] = alone(position, event) end
        end)
        after = '(' .. text(position_of(entry))
      end
    until #page > 0 or #entries == 0
  else
    return {now, pos, call('SMEMBERS', P .. 'closed'), call('HGETALL', P .. 'rates')}
  end
  return page
end
