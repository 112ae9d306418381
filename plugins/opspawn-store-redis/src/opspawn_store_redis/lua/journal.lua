-- Events as they are written: entries of `ev`, the streams in which they are found, and the positions of a task's own.

local function in_pieces(command, key, words, count)
  for n = 1, count, 2000 do call(command, key, unpack(words, n, math.min(n + 1999, count))) end
end

-- The first events of a task are noted in the task, where that is written anyway; all others in a list.
local NOTED = 16
local news -- by task, the positions of its new events

local function note_positions()
  for id, positions in pairs(news) do
    local row = touched[id]
    local all = row and row[J] and row[J] .. positions or positions
    if not row or #all > NOTED * POSITION_BYTES then
      in_pieces('RPUSH', P .. 'j:' .. id, noted(positions), #positions / POSITION_BYTES)
    else
      row[J] = all
    end
  end
  if next(news) then news = {} end
end

-- Events that will be one entry of `ev`, the last of them at `pos`; and by type what its stream gets of them. Few together are
-- nearly as cheap as many, and an entry stays until all of its events are removed.
local LINES_AT_ONCE, LINES_BYTES = 16, 4096
local lines, lines_bytes, copies

local function write_lines()
  if #lines == 0 then return end
  call('XADD', P .. 'ev', pos, unpack(lines))
  for type, of_type in pairs(copies) do call('XADD', P .. 'e:type:' .. type, of_type[#of_type - 1], unpack(of_type)) end
  lines, lines_bytes, copies = {}, 0, {}
end

opened[#opened + 1] = function()
  news, lines, lines_bytes, copies = {}, {}, 0, {}
end

-- Types that nearly every task has are found in `ev` itself: an index of them would be as long, and cost as much again.
local FREQUENT = {['task.accepted'] = true, ['task.claimed'] = true, ['step.done'] = true, ['step.started'] = true}

-- What is longer stands in `ev` alone, and not in the stream of its type, too.
local COPIED_BYTES = 512

local pos_digits = digits_of()

local function note_position(id)
  local position, others = pos_digits(pos), news[id]
  news[id] = others and others .. position or position
end

local line = {} -- an event that is about to be packed

local function append(id, type, level, err, data, agent, session)
  if not id then write_lines() end -- what is removed alone shares no entry, and so leaves no room behind
  pos, wrote = pos + 1, true
  local l = line
  l[1], l[2], l[3], l[4], l[5], l[6], l[7], l[8] = id or false, now, type, level, err or false, data, agent or false, session or false
  local entry, n = pack(l), #lines
  lines[n + 1], lines[n + 2], lines_bytes = '', entry, lines_bytes + #entry
  if not FREQUENT[type] then
    local of_type = copies[type] or {}
    copies[type], of_type[#of_type + 1] = of_type, pos
    of_type[#of_type + 1] = #entry <= COPIED_BYTES and entry or ''
  end
  if id then
    note_position(id)
    if n + 2 == 2 * LINES_AT_ONCE or lines_bytes >= LINES_BYTES then write_lines() end
  else
    write_lines()
    call('XADD', P .. 'e:apart', pos, '', '')
  end
  if agent then call('XADD', P .. 'e:agent:' .. agent, pos, '', '') end
  if session and not id then call('XADD', P .. 'e:session:' .. session, pos, '', '') end
  if err then call('XADD', P .. 'e:error:' .. err, pos, '', '') end
  if level ~= 'info' then call('XADD', P .. 'e:level:' .. level, pos, '', '') end
  return pos
end
