local call, try, format = redis.call, redis.pcall, string.format
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

-- The keys of which what was read is an error.
local broken = {}

-- The finite number that a text is, or nil.
local function number(x)
  local n = tonumber(x)
  if n and n - n == 0 then return n end
end

-- A number with as many digits as it takes to read it back exactly.
local function text(x)
  return format('%.17g', x)
end

-- Reads each of KEYS[first..last] by a command. A key that holds something of another type gets the error as its value.
local function reply(raw, first, last, command, ...)
  for i = first, last do
    local got = try(command, KEYS[i], ...)
    if type(got) == 'table' and got.err then
      if not string.find(got.err, 'WRONGTYPE', 1, true) then return call(command, KEYS[i], ...) end
      broken[i] = true
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

-- What the second number of a request makes of a step: a lease, or units that come back from one.
local LEASE, GIVE_BACK = 1, 2

-- Takes all units that are asked for, or else as many whole ones as are left; rounding may make it one less.
local function lease(step, left, state, now, a, r)
  local new, ttl = step(state, now, a, {r[1]})
  local units = min(left, floor(r[1]))
  for part = units, units - 1, -1 do
    if new ~= nil or part < 1 then break end
    new, ttl = step(state, now, a, {part})
  end
  return new, ttl
end

-- The server's time in whole milliseconds, unless the caller has one.
local now, least = tonumber(ARGV[1]), tonumber(ARGV[2])
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000 + floor(time[2] / 1000)
end

-- How long a state is to live, as the server wants it.
local function lifetime(ttl)
  ttl = ceil(ttl)
  return format('%d', ttl < least and least or ttl)
end

local twins = {}
twins[1] = (function()
-- State: {tokens, instant of that level}, the hash fields t and l. Numbers: capacity, tokens per ms, ms to fill.
-- Request: cost; or of a lease or refund. A field that is missing or is no number makes the bucket full.
local function read(raw, first, last)
  reply(raw, first, last, 'HMGET', 't', 'l')
end

local function load(raw)
  local tokens, last = number(raw[1]), number(raw[2])
  return tokens and last and {tokens, last}
end

local function step(level, now, a, r)
  local tokens = a[1]
  if level then
    local elapsed = now > level[2] and now - level[2] or 0
    tokens = min(tokens, level[1] + elapsed * a[2])
  end
  if r[2] == GIVE_BACK then
    if tokens >= a[1] or r[3] == 1 and r[4] <= now then return nil end
    tokens = tokens + r[1]
    if tokens >= a[1] then return false end
    return {tokens, now}, a[3]
  elseif r[2] == LEASE then
    return lease(step, floor(tokens), level, now, a, r)
  end
  if tokens < r[1] then return nil end
  return {tokens - r[1], now}, a[3]
end

local function save(key, level, ttl)
  call('HSET', key, 't', text(level[1]), 'l', text(level[2]))
  call('PEXPIRE', key, ttl)
end

return {read = read, load = load, step = step, save = save}
end)()

-- One step on one key. Arguments: instant, least life, how many numbers the program has, those, those of the request.
local a, r, last = {}, {}, 3 + ARGV[3]
for i = 4, last do a[i - 3] = tonumber(ARGV[i]) end
for i = last + 1, #ARGV do r[i - last] = tonumber(ARGV[i]) end

local t, key, raw, state, bad, new, ttl = twins[1], KEYS[1], {}, nil, false, nil, nil
t.read(raw, 1, 1, now, a, false)
local found = raw[1]
if broken[1] then
  bad = true
elseif found then
  state, bad = t.load(found, now, a)
end
if not bad then new, ttl = t.step(state, now, a, r) end
if found and t.tell and not broken[1] then t.tell(key, found, now, a) end
if new then
  t.save(key, new, lifetime(ttl), now, a)
elseif new == false then
  call('DEL', key)
end
return {found, now, new ~= nil and 1 or 0}
