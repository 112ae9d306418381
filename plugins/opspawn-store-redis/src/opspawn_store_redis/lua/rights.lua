-- Which commands the user who calls may not use on our keys; nothing is done. ARGV: time, commands, each with its further
-- words, where "@" stands for a key or a channel of ours. Answers the names.

function ops.rights()
  local lacking = {}
  for n = 2, #ARGV do
    local words = {}
    for word in string.gmatch(ARGV[n], '%S+') do words[#words + 1] = word == '@' and P .. 'rights' or word end
    if not redis.acl_check_cmd(unpack(words)) then lacking[#lacking + 1] = words[1] end
  end
  return lacking
end
