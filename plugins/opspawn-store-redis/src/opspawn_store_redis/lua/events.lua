-- Events from streams of positions, those that match, in order, looking at a bounded number of them.
--
-- ARGV: time, from (position after which, or before which to look), 1 for newest first, limit, after, before, task, agent,
-- session, error type, level (each '' or '=' and the text), types (count, names), streams ('ev', or 'e:agent:NAME', ...).
-- Answers {events, position reached, whether that was all, newest position}.

do

local from, newest, limit, after, before, types, streams, looked_at_once, low, high
local of_task, of_agent, of_session, of_error, of_level
local function given(argument) return argument ~= '' and string.sub(argument, 2) end

local function open_search()
  from, newest, limit = tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])
  after, before = tonumber(ARGV[5]), tonumber(ARGV[6])
  of_task, of_agent, of_session = given(ARGV[7]), given(ARGV[8]), given(ARGV[9])
  of_error, of_level = given(ARGV[10]), given(ARGV[11])
  types, streams = nil, {}
  for n = 13, 12 + tonumber(ARGV[12]) do
    types = types or {}
    types[ARGV[n]] = true
  end
  for n = 13 + tonumber(ARGV[12]), #ARGV do streams[#streams + 1] = ARGV[n] end
  looked_at_once = math.max(50, math.floor(1000 / #streams))
end

local function fits(task, _, type, level, err, _, agent, session)
  return (not types or types[type]) and (not of_task or task == of_task) and (not of_agent or agent == of_agent)
    and (not of_session or session == of_session) and (not of_error or err == of_error)
    and (not of_level or level == of_level)
end

local function time_of(entry)
  return unpacked(entry[2][2])[2]
end

-- The first position whose time is not before a moment: times grow with positions.
local function first_at(moment)
  local newest_entry = call('XREVRANGE', P .. 'ev', '+', '-', 'COUNT', 1)[1]
  if not newest_entry then return pos + 1 end
  local low, high = 0, tonumber(string.match(newest_entry[1], '^%d+')) + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry = call('XRANGE', P .. 'ev', text(middle), '+', 'COUNT', 1)[1]
    if entry and time_of(entry) < moment then
      low = math.max(middle + 1, tonumber(string.match(entry[1], '^%d+')) + 1)
    else
      high = middle
    end
  end
  return low
end

-- The entries of all streams in order, as far as all of them were read; and whether that is all there is.
local function entries_of_all()
  local entries, bound = {}, nil
  for _, stream in ipairs(low > high and {} or streams) do
    local page
    if newest then
      page = call('XREVRANGE', P .. stream, text(high), text(low), 'COUNT', looked_at_once)
    else
      page = call('XRANGE', P .. stream, text(low), text(high), 'COUNT', looked_at_once)
    end
    for _, entry in ipairs(page) do entries[#entries + 1] = {tonumber(string.match(entry[1], '^%d+')), entry} end
    if #page == looked_at_once then
      local last = entries[#entries][1]
      bound = newest and math.max(bound or last, last) or math.min(bound or last, last)
    end
  end
  if #streams > 1 then
    table.sort(entries, function(a, b) if newest then return a[1] > b[1] end return a[1] < b[1] end)
  end
  return entries, bound
end

function ops.events()
  open_search()
  low, high = newest and 0 or from + 1, newest and from - 1 or pos
  if after then low = math.max(low, first_at(after)) end
  if before then high = math.min(high, first_at(before) - 1) end
  local found, reached = {}, from
  local entries, bound = entries_of_all()
  local over = not bound
  for _, one in ipairs(entries) do
    local position = one[1]
    if bound and ((newest and position < bound) or (not newest and position > bound)) then break end
    if #found == limit then
      over = false
      break
    end
    local entry = one[2]
    if entry[2][2] == '' then entry = entry_at(position) end -- a stream of positions
    if entry and fits(unpack(unpacked(entry[2][2]))) then found[#found + 1] = entry end
    reached = position
  end
  if over and not newest then reached = math.max(reached, math.min(high, pos)) end
  return {found, reached, over and 1 or 0, pos}
end

end
