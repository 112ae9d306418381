-- What every function begins with: keys, the store's clock, and tasks.
--
-- KEYS[1] is "osp:{NAME}:meta"; all other keys have the same beginning, so they lie in one slot. Below, each is written
-- without it:
--
--   meta            packed: layout, era (a name that is new whenever a server was started or took over), time and
--                   ahead (see below), seq (of the newest task or record), pos (of the newest event), writes (scripts
--                   that wrote)
--   eras            of each era that is over, how many writes were kept
--   t:ID            a task, packed; v:ID has those of its values that are long, so that a small change stays small
--   tasks, ended    all tasks by seq; those that have ended, by time
--   i:FIELD:VALUE   tasks by seq, for each field and label by which they are found; but no succeeded ones by state, no
--                   root by its own tree, and no task by its own session (t-X by s-X): these are found by their id
--   due             what is due later: delayed and waiting tasks, and running ones until their lease ends
--   ready:LANE      what may be claimed, by rank; ending:LANE is the same for tasks that are asked to end
--   line:KEY:LANE   who waits for a place under a concurrency key; lanes:KEY are the lanes of its lines;
--                   shown has, by KEY:LANE, who of a line stands among the ready in the name of all
--   held            by key, how many hold a place; leases has tasks whose places end with their lease
--   closed          handlers whose lane is closed
--   ev              all events, packed, a stream. Events of tasks that were written by one call are one entry, up to some
--                   (see `append`): its id is the position of the last, and they have positions without a gap
--   gone            positions of what was removed from entries of which something is left; the rest of such an entry
--                   keeps its place, until all of it is removed
--   j:ID            positions of a task's events, beside those in the task itself (the first few, see `flush`)
--   e:FIELD:VALUE   positions by agent, session, error and level, as streams; e:apart are those of no task.
--   e:type:TYPE     the same by type, an entry for each of `ev` that has such: by position, short events as a whole
--   p:DIGEST        a large value: refs, data
--   rec:KIND:ID     a record: k (packed), d (its data); recs:KIND by seq; rf:KIND:NAME:VALUE by seq
--   rates, full     by key, when a bucket will be full; the same by time
--   wake:QUEUE      hints for whoever waits for work: see waker.py
--   idle:QUEUE      workers that wait; offer:WORKER is what each takes, given:WORKER what it was given last: see handing.lua
--   c:CLIENT, a:ID  answers that are kept for a while, for whoever lost a reply
--
-- A task is packed as one array, which is what a script holds it in: looked at by place, it is neither made nor written
-- name by name. Its places are SEQ, S state, V version, T token, W wakes, STANDS where it stands (0 in `due` or nowhere, 1
-- ready, 2 in a line, 3 ending), DUE_AT, HS head start, O owner, Q queue, H handler, AG agent, SE session (true: its own),
-- DE deliveries, CR created, UP updated, EN ended, KIN (see below), VB, VI and VR: the rest, input and result, opaque, where
-- not in v:ID; J positions of events (see `noted`), U wakes at the last urgent one, WA wake_at, C asked to end, L the line, HAS 1 while it
-- has a lasting place and 2 while it has one that ends with its claim, HO holds (key, limit, lasting, ...), PL places (key,
-- lasting, ...), DL deadline, LG whether input (1) or result (2) is large; WHO is for the script itself. What is not there
-- is false. The first place is that of the offset which `unpack_limit` gives.
-- KIN is JSON of what is seldom looked at, and holds texts alone: ro root (nil: itself), pa parent, rt retry_of, la labels
-- (name, value, ...). Times are microseconds since 1970, which a double holds exactly.
--
-- An event is packed as an array, too: task, time, type, level, error type, data (opaque), agent, session (true: its task's
-- own).

local call, fmt, pack, unpacked, unpack_limit = redis.call, string.format, cmsgpack.pack, cmsgpack.unpack, cmsgpack.unpack_limit
local sub, byte = string.sub, string.byte
local SEQ, S, V, T, W, STANDS, DUE_AT, HS, O, Q, H, AG, SE, DE, CR, UP, EN, KIN, VB, VI, VR, J, U, WA, C, L, HAS, HO, PL, DL, LG, WHO =
  2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33

-- What belongs to one call, and is set anew by `open`.
local ARGV, P
local layout, era, now, ahead, seq, pos, writes
local wrote
local rows, raws, touched -- tasks by id, as tables and as the store has them; those that are to be written
local opened = {} -- what else is to be done when a call begins

-- The clock goes on from the highest time at its usual pace when the server's was set back. ARGV[1] is '' but in tests.
local function open_meta(key)
  local highest
  local meta = redis.pcall('GET', key)
  if type(meta) == 'string' then
    layout, era, highest, ahead, seq, pos, writes = unpacked(meta)
  else
    layout, era, highest, ahead, seq, pos, writes = meta and call('HGET', key, 'layout'), '', 0, 0, 0, 0, 0
  end
  local wall = tonumber(ARGV[1])
  if not wall then
    local time = call('TIME')
    wall = time[1] * 1000000 + time[2]
  end
  if wall >= highest then ahead = 0 else ahead = math.max(ahead, highest - wall) end -- guard: the clock never goes back
  now = wall + ahead
end

local function open(keys, argv)
  local prefix = sub(keys[1], 1, -5)
  ARGV, wrote = argv, false
  rows, raws, touched = {}, {}, {}
  local moved = prefix ~= P
  P = prefix
  for _, more in ipairs(opened) do more(moved) end
  open_meta(keys[1])
end

local function text(number) return fmt('%.0f', number) end

-- A function that gives twelve digits of a number: its last two from a table, the others as they were if they are the same as those
-- of the number before, since numbers come one after the other, and `format` takes longer than that.
local digits_of
do
local LAST_TWO = {}
for n = 0, 255 do LAST_TWO[n] = fmt('%02x', n) end

function digits_of()
  local above, first_ten
  return function(number)
    local last = number % 256
    if number - last ~= above then
      above = number - last
      first_ten = fmt('%010x', above / 256)
    end
    return first_ten .. LAST_TWO[last]
  end
end
end

local seq_digits = digits_of()

local NOTHING, NO_TASK = {}, {}
for place = 1, WHO do NO_TASK[place] = false end

local function kin_of(row) return row[KIN] and cjson.decode(row[KIN]) or NOTHING end

local function learn(id, raw)
  raws[id] = raw
  rows[id] = raw and {unpack_limit(raw, 32, 4)} -- after three bytes of its length, and one of the first place
end

local function task(id)
  if rows[id] == nil then learn(id, call('GET', P .. 't:' .. id)) end
  return rows[id]
end

-- Look at many tasks at once, so that `task` knows them.
local function look_at(ids)
  local wanted, keys, count = {}, {}, 0
  for n = 1, #ids do
    local id = ids[n]
    if rows[id] == nil then
      rows[id], count = false, count + 1
      wanted[count], keys[count] = id, P .. 't:' .. id
    end
  end
  for first = 1, count, 1000 do
    local found = call('MGET', unpack(keys, first, math.min(first + 999, count)))
    for n = 1, #found do
      local raw = found[n]
      if raw then learn(wanted[first + n - 1], raw) end
    end
  end
end

-- Members sort by creation where ranks are equal.
local function member(id, row)
  local who = row[WHO]
  if not who then
    who = seq_digits(row[SEQ]) .. id
    row[WHO] = who
  end
  return who
end
local function id_of(member) return sub(member, 13) end

-- A task as the store has it, with the values that are not in it.
local function whole(id, row)
  if row[VB] and row[VI] and row[VR] then return {id, raws[id]} end
  local apart = call('HMGET', P .. 'v:' .. id, 'vb', 'vi', 'vr')
  return {id, raws[id], apart[1], apart[2], apart[3]}
end

-- The positions that are noted in a task are one text, twelve digits each: a table of them would be made at each look at the task.
local POSITION_BYTES = 12
local function noted(text)
  local places = {}
  for at = 1, #(text or ''), POSITION_BYTES do places[#places + 1] = tonumber(sub(text, at, at + POSITION_BYTES - 1), 16) end
  return places
end

local function positions_of(id, row)
  local places = noted(row and row[J])
  for _, position in ipairs(call('LRANGE', P .. 'j:' .. id, 0, -1)) do places[#places + 1] = tonumber(position) end
  return places
end

local function position_of(entry) return tonumber(string.match(entry[1], '^%d+')) end

-- The entry of `ev` in which an event is or would be, with its first and its last position; nil if there is none.
local latest
opened[#opened + 1] = function() latest = nil end

local function entry_with(position)
  if latest and latest[2] <= position and position <= latest[3] then return unpack(latest) end
  local entry = call('XRANGE', P .. 'ev', position, '+', 'COUNT', 1)[1]
  if not entry then return end
  local last = position_of(entry)
  latest = {entry, last - #entry[2] / 2 + 1, last}
  return unpack(latest)
end

-- One event, in the form of an entry of its own.
local function alone(position, event) return {text(position), {'', event}} end

local function entry_at(position)
  local entry, first = entry_with(position)
  if entry and first <= position then return alone(position, entry[2][2 * (position - first + 1)]) end
end

-- Do something with each event of an entry of any stream: its position, and what is there of it.
local function each_of(entry, act)
  local last, fields = position_of(entry), entry[2]
  for n = 1, #fields, 2 do
    act(fields[n] ~= '' and tonumber(fields[n]) or last - (#fields - n - 1) / 2, fields[n + 1])
  end
end

local function is_gone(position) return call('ZSCORE', P .. 'gone', text(position)) end

-- The task whose own a session is, which has no need of a list of tasks: "t-X" for "s-X".
local function owner_of(session)
  if string.sub(session, 1, 2) == 's-' then return 't-' .. string.sub(session, 3) end
end
