-- Finds tasks or records, newest first, looking at a bounded number of them.
--
-- ARGV: time, kind ('task' or a record's), limit, cursor (seq below which to look, or ''), after, before, ended before,
-- fields (count, name and value of each), labels (the same). Answers {items, cursor or 0, whether the search is over}.

do

local kind, limit, cursor, after, before, ended_before, of_tasks, where, labels, items, last, over

local function open_search()
  kind, limit, cursor = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
  after, before, ended_before = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  of_tasks = kind == 'task'
  where, labels = {}, {}
  local at = 8
  for _ = 1, tonumber(ARGV[at]) do
    where[ARGV[at + 1]] = ARGV[at + 2]
    at = at + 2
  end
  at = at + 1
  for _ = 1, tonumber(ARGV[at]) do
    labels[ARGV[at + 1]] = ARGV[at + 2]
    at = at + 2
  end
  items, last, over = {}, cursor, true
end

local LOOKED_AT_ONCE = 1000
local PLACES = {state = S, handler = H, queue = Q, agent = AG, session = SE}
local OF_KIN = {parent = 'pa', retry_of = 'rt'}
local INDEXED = {state = true, parent = true, root = true, agent = true, session = true, retry_of = true}

local function found_row(id)
  if of_tasks then return task(id) end
  local packed = call('HGET', P .. 'rec:' .. #kind .. ':' .. kind .. ':' .. id, 'k')
  return packed and unpacked(packed) or false
end

local function has(list, name, value)
  for n = 1, #(list or {}), 2 do
    if list[n] == name and list[n + 1] == value then return true end
  end
  return false
end

local function field_of(id, row, name)
  if name == 'root' then return kin_of(row).ro or id end
  if OF_KIN[name] then return kin_of(row)[OF_KIN[name]] end
  if name == 'session' and row[SE] == true then return 's-' .. string.sub(id, 3) end
  return row[PLACES[name]]
end

local function matches(id, row)
  if (after and row[CR] < after) or (before and row[CR] >= before) then return false end
  if ended_before and not (row[EN] and row[EN] < ended_before) then return false end
  for name, value in pairs(where) do
    if name == 'id' then
      if id ~= value then return false end
    elseif of_tasks then
      if field_of(id, row, name) ~= value then return false end
    elseif not has(row.f, name, value) then
      return false
    end
  end
  local own = of_tasks and next(labels) and kin_of(row).la
  for name, value in pairs(labels) do
    if not has(own, name, value) then return false end
  end
  return true
end

local function show(id, row)
  if of_tasks then return whole(id, row) end
  return {id, row[V], row[CR], row[UP], row.f or false, call('HGET', P .. 'rec:' .. #kind .. ':' .. kind .. ':' .. id, 'd'), row[SEQ]}
end

-- The shortest list that holds all that can match.
local function source()
  local lists = {P .. (of_tasks and 'tasks' or 'recs:' .. kind)}
  for name, value in pairs(where) do
    if of_tasks and INDEXED[name] and value ~= 'succeeded' then lists[#lists + 1] = P .. 'i:' .. name .. ':' .. value end
    if not of_tasks then lists[#lists + 1] = P .. 'rf:' .. #kind .. ':' .. kind .. ':' .. name .. ':' .. value end
  end
  for name, value in pairs(labels) do lists[#lists + 1] = P .. 'i:label:' .. #name .. ':' .. name .. ':' .. value end
  local best, least
  for _, list in ipairs(lists) do
    local length = call('ZCARD', list)
    if not least or length < least then best, least = list, length end
  end
  return best
end

-- A root is not in the list of its own tree, nor a task in that of a session of its own: it is put in its place.
local function own_of(list)
  if not of_tasks then return end
  if where.root and list == P .. 'i:root:' .. where.root then return where.root end
  if where.session and list == P .. 'i:session:' .. where.session then return owner_of(where.session) end
end

local function with_own(list, page, below)
  local id = own_of(list)
  local row = id and task(id)
  if not row or (below and row[SEQ] >= below) then return page end
  local at = 1
  while page[at] and tonumber(page[at + 1]) > row[SEQ] do at = at + 2 end
  if page[at] ~= id and at < 2 * LOOKED_AT_ONCE then
    table.insert(page, at, text(row[SEQ]))
    table.insert(page, at, id)
  end
  return page
end

local function page(list, below)
  return with_own(list, call('ZREVRANGEBYSCORE', list, below and '(' .. text(below) or '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, LOOKED_AT_ONCE), below)
end

-- Those that ended long ago are few beside all others: found by their end, and then put in order of creation.
local function ended_page()
  local list = {}
  if call('ZCOUNT', P .. 'ended', '-inf', '(' .. text(ended_before)) > 5000 then return end
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'ended', '-inf', '(' .. text(ended_before))) do
    local row = task(id)
    if row and (not cursor or row[SEQ] < cursor) then list[#list + 1] = {id, row[SEQ]} end
  end
  table.sort(list, function(a, b) return a[2] > b[2] end)
  local flat = {}
  for _, one in ipairs(list) do
    flat[#flat + 1] = one[1]
    flat[#flat + 1] = one[2]
  end
  return flat
end

-- Where to begin when only what was created before a time can match: creation times grow with seq.
local function begin(list)
  if not before then return cursor end
  local low, high = 0, call('ZCARD', list)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local one = call('ZRANGE', list, middle, middle)[1]
    local row = found_row(one)
    if row and row[CR] < before then low = middle + 1 else high = middle end
  end
  local first = call('ZRANGE', list, low, low, 'WITHSCORES')
  local below = first[2] and tonumber(first[2])
  if not below then return cursor end
  return cursor and math.min(cursor, below) or below
end

local function look(list, complete)
  for n = 1, #list, 2 do
    local id = list[n]
    local row = found_row(id)
    if row and after and row[CR] < after then return end
    if row and matches(id, row) then
      if #items == limit then
        over = false
        return
      end
      items[#items + 1] = show(id, row)
    end
    last = tonumber(list[n + 1])
  end
  over = complete or #list < 2 * LOOKED_AT_ONCE
end

function ops.find()
  open_search()
  if where.id then
    local row = found_row(where.id)
    if row and (not cursor or row[SEQ] < cursor) and matches(where.id, row) then items[1] = show(where.id, row) end
  else
    local ended = ended_before and ended_page()
    if ended then
      look(ended, true)
    else
      local list = source()
      look(page(list, begin(list)))
    end
  end
  return {items, last or 0, over and 1 or 0}
end

end
