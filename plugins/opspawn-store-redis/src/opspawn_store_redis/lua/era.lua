-- Opens the data for a process, and tells it later whether what it saw is still there. Writes nothing where all is well; as
-- `probe` it is refused where the server takes no writes.
--
-- ARGV: time, pos that was seen, layout, writes that were seen, the fewest that a reply of the newest of these eras counted
-- later ('' if none counted less), and the eras that were seen, the newest first.
-- Answers {time, pos, writes, era, layout, kept}, the last of the writes that were seen: -1 if none of their eras is known.

function ops.era()
  local seen_pos, seen, fewest = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
  local kept, in_this = #ARGV > 5 and -1 or seen, false
  for n = 6, #ARGV do
    in_this = ARGV[n] == era
    local left = in_this and writes or tonumber(call('HGET', P .. 'eras', ARGV[n]) or nil)
    if left then
      kept = n == 6 and fewest and math.min(left, fewest) or left
      break
    end
  end
  local lost = kept < seen
  if lost and in_this then begin_era(kept) end
  if seen_pos > pos then pos, wrote = seen_pos, true end -- guard: a position is never given twice
  if wrote or lost or not layout then
    layout = layout or tonumber(ARGV[3])
    flush()
  end
  return {now, pos, writes, era, layout, kept}
end
