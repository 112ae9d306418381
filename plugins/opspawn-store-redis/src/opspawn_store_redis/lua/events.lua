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

-- The first position whose time is not before a moment: times grow with positions.
local function first_at(moment)
  local low, high = 0, pos + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry, first = entry_with(middle)
    local position = entry and math.max(middle, first)
    if entry and unpacked(entry[2][2 * (position - first + 1)])[2] < moment then
      low = position + 1
    else
      high = middle
    end
  end
  return low
end

-- The events of a stream from one end of what is asked for, as position and event; and up to where that is all, nil if
-- it is all there is.
local function events_of(stream, events)
  local entries_at_once = looked_at_once / ((stream == 'ev' or string.sub(stream, 1, 7) == 'e:type:') and 4 or 1)
  local past = high + LINES_AT_ONCE - 1 -- an entry that begins before may end after
  local command, from, to = 'XRANGE', low, past
  if newest then command, from, to = 'XREVRANGE', past, low end
  local most = math.ceil(entries_at_once) + LINES_AT_ONCE -- of which fewer than LINES_AT_ONCE may lie past all that is asked for
  local page = call(command, P .. stream, text(from), text(to), 'COUNT', most)
  local before = #events
  for n, entry in ipairs(page) do
    local reached
    each_of(entry, function(position, event)
      if position >= low and position <= high then events[#events + 1] = {position, event} end
      if not reached or not newest then reached = position end
    end)
    if n == most or #events - before >= looked_at_once then return reached end
  end
end

-- The events of all streams in order, as far as all of them were read; and up to where, nil if that is all there is.
local function events_of_all()
  local events, bound = {}, nil
  for _, stream in ipairs(low > high and {} or streams) do
    local last = events_of(stream, events)
    if last then bound = newest and math.max(bound or last, last) or math.min(bound or last, last) end
  end
  table.sort(events, function(a, b) if newest then return a[1] > b[1] end return a[1] < b[1] end)
  return events, bound
end

function ops.events()
  open_search()
  low, high = newest and 0 or from + 1, newest and from - 1 or pos
  if after then low = math.max(low, first_at(after)) end
  if before then high = math.min(high, first_at(before) - 1) end
  local found, reached = {}, from
  local events, bound = events_of_all()
  local over, none_gone = not bound, call('EXISTS', P .. 'gone') == 0
  for _, one in ipairs(events) do
    local position = one[1]
    if bound and ((newest and position < bound) or (not newest and position > bound)) then break end
    if #found == limit then
      over = false
      break
    end
    local entry = one[2] == '' and entry_at(position) or one[2] ~= '' and alone(position, one[2]) -- '': a stream of positions
    if entry and fits(unpack(unpacked(entry[2][2]))) and (none_gone or not is_gone(position)) then found[#found + 1] = entry end
    reached = position
  end
  if over and not newest then reached = math.max(reached, math.min(high, pos)) end
  return {found, reached, over and 1 or 0, pos}
end

end
