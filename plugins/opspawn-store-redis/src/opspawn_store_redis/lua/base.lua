-- What every script begins with: keys, the store's clock, and tasks.
--
-- KEYS[1] is "osp:{NAME}:meta"; all other keys have the same beginning, so they lie in one slot. Below, each is written
-- without it:
--
--   meta            packed: layout, era (a name by which a store that was emptied is told from the old one), time and
--                   ahead (see below), seq (of the newest task or record), pos (of the newest event), writes (scripts
--                   that wrote)
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
--   ev              all events, packed, a stream whose ids are positions
--   j:ID            positions of a task's events, beside those in the task itself (the first few, see `flush`)
--   e:FIELD:VALUE   positions by type, agent, session, error and level, as streams; e:apart are those of no task. A
--                   stream of a type has short events as a whole
--   p:DIGEST        a large value: refs, data
--   rec:KIND:ID     a record: k (packed), d (its data); recs:KIND by seq; rf:KIND:NAME:VALUE by seq
--   rates, full     by key, when a bucket will be full; the same by time
--   wake:QUEUE      hints for whoever waits for work: see waker.py
--   c:CLIENT, a:ID  answers that are kept for a while, for whoever lost a reply
--
-- What is packed is values one after the other, which costs a quarter of what a map of them does. Those of a task: n seq,
-- s state, v version, t token, w wakes, r where it stands (0 in `due` or nowhere, 1 ready, 2 in a line, 3 ending), d due,
-- hs head start, o owner, q queue, h handler, ag agent, se session (true: its own), de deliveries, cr created, up updated,
-- en ended, kin (see below), vb, vi and vr: the rest, input and result, opaque, where not in v:ID; j positions of events;
-- and a map of what few tasks have: u wakes at the last urgent one, wa wake_at, c asked to end, l the line, p 1 while it
-- has a lasting place and 2 while it has one that ends with its claim, ho holds (key, limit, lasting, ...), pl places (key,
-- lasting, ...), dl deadline, lg whether input (1) or result (2) is large.
-- kin is JSON of what is seldom looked at, and holds texts alone: ro root (nil: itself), pa parent, rt retry_of, la labels
-- (name, value, ...). What is not there is nil. Times are microseconds since 1970, which a double holds exactly.
--
-- Those of an event: task, time, type, level, error type, data (opaque), agent, session (true: its task's own).

local call, fmt, pack, unpacked = redis.call, string.format, cmsgpack.pack, cmsgpack.unpack
local P = string.sub(KEYS[1], 1, -5)
local layout, era, now, ahead, seq, pos, writes
local wrote = false
local rows, raws, touched = {}, {}, {} -- tasks by id, as tables and as the store has them; those that are to be written

-- The clock goes on from the highest time at its usual pace when the server's was set back. ARGV[1] is '' but in tests.
do
  local highest
  local meta = redis.pcall('GET', KEYS[1])
  if type(meta) == 'string' then
    layout, era, highest, ahead, seq, pos, writes = unpacked(meta)
  else
    layout, era, highest, ahead, seq, pos, writes = meta and call('HGET', KEYS[1], 'layout'), '', 0, 0, 0, 0, 0
  end
  local wall = tonumber(ARGV[1])
  if not wall then
    local time = call('TIME')
    wall = time[1] * 1000000 + time[2]
  end
  if wall >= highest then ahead = 0 else ahead = math.max(ahead, highest - wall) end -- guard: the clock never goes back
  now = wall + ahead
end

local function text(number) return fmt('%.0f', number) end

local function row_of(raw)
  local n, s, v, t, w, r, d, hs, o, q, h, ag, se, de, cr, up, en, kin, vb, vi, vr, j, more = unpacked(raw)
  local row = {
    n = n, s = s, v = v, t = t, w = w, r = r, d = d, hs = hs, o = o, q = q, h = h, ag = ag, se = se, de = de, cr = cr,
    up = up, en = en, kin = kin, vb = vb, vi = vi, vr = vr, j = j,
  }
  if more then
    for name, value in pairs(more) do row[name] = value end
  end
  return row
end

local function text_of(row)
  local more
  if row.u or row.wa or row.c or row.l or row.p or row.ho or row.pl or row.dl or row.lg then
    more = {
      u = row.u, wa = row.wa, c = row.c, l = row.l, p = row.p, ho = row.ho, pl = row.pl, dl = row.dl, lg = row.lg,
    }
  end
  return pack(
    row.n, row.s, row.v, row.t, row.w, row.r, row.d, row.hs, row.o, row.q, row.h, row.ag, row.se, row.de, row.cr, row.up,
    row.en, row.kin, row.vb, row.vi, row.vr, row.j, more
  )
end

local NOTHING = {}
local function kin_of(row) return row.kin and cjson.decode(row.kin) or NOTHING end

local function learn(id, raw)
  raws[id] = raw
  rows[id] = raw and row_of(raw)
end

local function task(id)
  if rows[id] == nil then learn(id, call('GET', P .. 't:' .. id)) end
  return rows[id]
end

-- Look at many tasks at once, so that `task` knows them.
local function look_at(ids)
  local wanted, keys = {}, {}
  for _, id in ipairs(ids) do
    if rows[id] == nil then
      rows[id] = false
      wanted[#wanted + 1] = id
      keys[#keys + 1] = P .. 't:' .. id
    end
  end
  for first = 1, #keys, 1000 do
    local found = call('MGET', unpack(keys, first, math.min(first + 999, #keys)))
    for n, raw in ipairs(found) do learn(wanted[first + n - 1], raw) end
  end
end

-- Members sort by creation where ranks are equal.
local function member(id, row)
  local who = row.who
  if not who then
    who = fmt('%012x', row.n) .. id
    row.who = who
  end
  return who
end
local function id_of(member) return string.sub(member, 13) end

-- A task as the store has it, with the values that are not in it.
local function whole(id, row)
  if row.vb and row.vi and row.vr then return {id, raws[id]} end
  local apart = call('HMGET', P .. 'v:' .. id, 'vb', 'vi', 'vr')
  return {id, raws[id], apart[1], apart[2], apart[3]}
end

local function positions_of(id, row)
  local places = {}
  for _, position in ipairs(row and row.j or {}) do places[#places + 1] = position end
  for _, position in ipairs(call('LRANGE', P .. 'j:' .. id, 0, -1)) do places[#places + 1] = tonumber(position) end
  return places
end

local function entry_at(position)
  return call('XRANGE', P .. 'ev', position, position)[1]
end

-- The task whose own a session is, which has no need of a list of tasks: "t-X" for "s-X".
local function owner_of(session)
  if string.sub(session, 1, 2) == 's-' then return 't-' .. string.sub(session, 3) end
end
