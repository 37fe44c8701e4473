local call, try = redis.call, redis.pcall
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

-- The finite number that a text is, or nil.
local function number(x)
  local n = tonumber(x)
  if n and n - n == 0 then return n end
end

-- A number with as many digits as it takes to read it back exactly.
local function text(x)
  return string.format('%.17g', x)
end

-- Reads each of KEYS[first..last] by a command. A key that holds something of another type gets the error as its value.
local function reply(raw, first, last, command, ...)
  for i = first, last do
    local got = try(command, KEYS[i], ...)
    if type(got) == 'table' and got.err and not string.find(got.err, 'WRONGTYPE', 1, true) then
      got = call(command, KEYS[i], ...)
    end
    raw[i] = got
  end
end

-- Reads KEYS[first..last], which hold texts.
local function strings(raw, first, last)
  if first == last then return reply(raw, first, last, 'GET') end
  local got, none = call('MGET', unpack(KEYS, first, last)), {}
  for i = first, last do
    local value = got[i - first + 1]
    raw[i] = value
    if not value then none[#none + 1] = KEYS[i] end
  end
  -- To MGET a key of another type is a key that is not there.
  if #none > 0 and call('EXISTS', unpack(none)) > 0 then
    for i = first, last do
      if not raw[i] then reply(raw, i, i, 'GET') end
    end
  end
end

