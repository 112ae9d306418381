-- What every script begins with: keys, the store's clock, and tasks.
--
-- KEYS[1] is "osp:{NAME}:meta"; all other keys have the same beginning, so they lie in one slot. Below, each is written
-- without it:
--
--   meta            time, ahead (see below), seq (of the newest task or record), pos (of the newest event),
--                   writes (scripts that wrote), era (a name by which a store that was emptied is told from the old one)
--   t:ID            a task: k (packed, what scripts look at), b (the rest, opaque), i and r (input and result)
--   tasks, ended    all tasks by seq; those that have ended, by time
--   i:FIELD:VALUE   tasks by seq, for each field and label by which they are found
--   due             what is due later: delayed and waiting tasks, and running ones until their lease ends
--   ready:LANE      what may be claimed, by rank; ending:LANE is the same for tasks that are asked to end
--   line:KEY:LANE   who waits for a place under a concurrency key; lanes:KEY are the lanes of its lines;
--                   shown has, by KEY:LANE, who of a line stands among the ready in the name of all
--   held            by key, how many hold a place; leases has tasks whose places end with their lease
--   closed          handlers whose lane is closed
--   ev, j:ID        all events, a stream whose ids are positions; the positions of a task's events
--   e:FIELD:VALUE   positions by type, agent, session, error and level, as streams; e:apart are those of no task
--   p:DIGEST        a large value: refs, data
--   rec:KIND:ID     a record: k (packed), d (its data); recs:KIND by seq; rf:KIND:NAME:VALUE by seq
--   rates, full     by key, when a bucket will be full; the same by time
--   c:CLIENT, a:ID  answers that are kept for a while, for whoever lost a reply
--
-- A packed task: n seq, s state, v version, t token, w wakes, u wakes at the last urgent one, wa wake_at, c asked to end,
-- r where it stands (0 in `due` or nowhere, 1 ready, 2 in a line, 3 ending), d due, hs head start, o owner, l the line,
-- p 1 while it has a lasting place and 2 while it has one that ends with its claim, q queue, h handler, ag agent,
-- se session, ro root, pa parent, rt retry_of, dl deadline, de deliveries, cr created, up updated, en ended,
-- lg whether input (1) or result (2) is large, ho holds (key, limit, lasting, ...), pl places (key, lasting, ...),
-- la labels (name, value, ...). What is not there is nil. Times are microseconds since 1970, which a double holds exactly.

local call, fmt = redis.call, string.format
local P = string.sub(KEYS[1], 1, -5)
local now, ahead, seq, pos, writes, era
local wrote = false
local rows, touched, values = {}, {}, {}

-- The clock goes on from the highest time at its usual pace when the server's was set back. ARGV[1] is '' but in tests.
do
  local meta = call('HMGET', KEYS[1], 'time', 'ahead', 'seq', 'pos', 'writes', 'era')
  local highest = tonumber(meta[1] or 0)
  ahead, seq, pos, writes, era = tonumber(meta[2] or 0), tonumber(meta[3] or 0), tonumber(meta[4] or 0),
    tonumber(meta[5] or 0), meta[6] or ''
  local wall = tonumber(ARGV[1])
  if not wall then
    local time = call('TIME')
    wall = time[1] * 1000000 + time[2]
  end
  if wall >= highest then ahead = 0 else ahead = math.max(ahead, highest - wall) end -- guard: the clock never goes back
  now = wall + ahead
end

local function text(number) return fmt('%.0f', number) end

local function task(id)
  local row = rows[id]
  if row == nil then
    local packed = call('HGET', P .. 't:' .. id, 'k')
    row = packed and cmsgpack.unpack(packed) or false
    rows[id] = row
  end
  return row
end

local function value_of(id, name)
  local new = values[id]
  return new and new[name] or call('HGET', P .. 't:' .. id, name)
end

local function touch(id, row)
  rows[id], touched[id], wrote = row, row, true
end

-- Members sort by creation where ranks are equal.
local function member(id, row) return fmt('%012x', row.n) .. id end
local function id_of(member) return string.sub(member, 13) end

local function whole(id, row)
  local has = call('HMGET', P .. 't:' .. id, 'b', 'i', 'r')
  local new = values[id] or {}
  return {
    id, row.h, row.ro, row.q, row.s, row.pa or false, row.ag or false, row.se or false, row.rt or false, row.de,
    row.dl or false, row.v, row.t, row.w, row.o or false, row.d or false, row.cr, row.up, row.en or false,
    row.ho or false, row.la or false, new.b or has[1], new.i or has[2], new.r or has[3], row.n
  }
end
