-- Opens the data for a process: names a new store, and raises its counters after it went back in time.
--
-- ARGV: time, era to give to a store that has none, seq and pos that were seen (0 when it did not go back), layout.
-- Answers {time, pos, writes, era, layout}.

function ops.era()
  if not layout then
    layout, era = tonumber(ARGV[5]), ARGV[2]
    flush()
  end
  local seen_seq, seen_pos = tonumber(ARGV[3]), tonumber(ARGV[4])
  if seen_pos > pos or seen_seq > seq then -- guard: a position is never given twice
    pos, seq, wrote = math.max(pos, seen_pos), math.max(seq, seen_seq), true
    flush()
  end
  return {now, pos, writes, era, layout}
end
