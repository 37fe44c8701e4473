-- Keys of which nobody asks what they hold.
local function read(raw, first, last)
  for i = first, last do raw[i] = false end
end

return {read = read}
