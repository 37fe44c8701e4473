local KEYS, ARGV, call, try, format, tonumber = KEYS, ARGV, redis.call, redis.pcall, string.format, tonumber
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

-- The keys of which what was read is an error.
local broken = {}

-- The finite number that a text is, or nil.
local function number(x)
  local n = tonumber(x)
  if n and n - n == 0 then return n end
end

-- A number as '%.17g' writes it: with as many digits as it takes to read it back exactly. Whole numbers below 2^31 are as fast
-- as the server writes any; a larger one may not fit where '%d' reads it.
local function text(x)
  local part = x % 1
  if x >= 1e12 and x < 1e13 then
    -- An instant of today: 13 digits before the point, so four are left. To write it in whole parts takes a third of the time.
    -- It is exact: what is behind the point is a multiple of 2^-13, and what is left of four digits of it rounds half to even.
    local low = (x - part) % 1000000
    local high, digits = (x - part - low) / 1000000, part * 10000
    if part == 0 then return format('%d%06d', high, low) end
    local rest = digits % 1
    digits = digits - rest
    if rest > 0.5 or rest == 0.5 and digits % 2 == 1 then digits = digits + 1 end
    if digits % 10 ~= 0 then return format('%d%06d.%04d', high, low, digits) end
    if digits % 100 ~= 0 then return format('%d%06d.%03d', high, low, digits / 10) end
    if digits % 1000 ~= 0 then return format('%d%06d.%02d', high, low, digits / 100) end
    return format('%d%06d.%d', high, low, digits / 1000)
  elseif part == 0 and x >= 1 and x < 2147483648 then
    return format('%d', x)
  end
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

-- Reads KEYS[first..last], which hold texts. What comes first is given back as it was read, since there may be a lot of it.
local function strings(raw, first, last)
  if first == last then return reply(raw, first, last, 'GET') end
  local got, count, there = call('MGET', unpack(KEYS, first, last)), last - first + 1, 0
  for i = 1, count do
    if got[i] then there = there + 1 end
  end
  if first > 1 then
    for i = 1, count do raw[first - 1 + i] = got[i] end
  else
    raw = got
  end
  -- To MGET a key of another type is a key that is not there.
  if there < count and call('EXISTS', unpack(KEYS, first, last)) > there then
    for i = first, last do
      if not raw[i] then reply(raw, i, i, 'GET') end
    end
  end
  return raw
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

-- How long a state is to live, as the server wants it. Those of a run are often alike.
local latest, shown
local function lifetime(ttl)
  if ttl ~= latest then
    local whole = ttl + -ttl % 1
    latest, shown = ttl, format('%d', whole < least and least or whole)
  end
  return shown
end

-- Writes a state of a twin: all that its key holds is a text, or the twin knows better.
local function write(t, key, state, ttl, now, a)
  if t.show then
    call('SET', key, t.show(state), 'PX', lifetime(ttl))
  else
    t.save(key, state, lifetime(ttl), now, a)
  end
end

local twins = {}
twins[1] = (function()
-- State: the theoretical arrival time, a text of its own. Numbers: interval, tolerance. Request: cost; or of a lease or refund.
local function load(raw)
  local tat = number(raw)
  return tat, not tat or nil
end

local function step(tat, now, a, r)
  if not tat or tat < now then tat = now end
  if r[2] == GIVE_BACK then
    local due = r[3] == 1 and r[4] - now or math.huge
    if tat <= now or due <= 0 then return nil end
    local back = tat - min(a[1] * r[1], due)
    if back <= now then return false end
    return back, back - now
  elseif r[2] == LEASE then
    return lease(step, floor((a[2] - (tat - now)) / a[1]), tat, now, a, r)
  end
  local new = tat + a[1] * r[1]
  if new <= tat or now < new - a[2] then return nil end
  return new, new - now
end

return {read = strings, load = load, step = step, show = text}
end)()

-- One step on one key. Arguments: instant, least life, how many numbers the program has, those, those of the request.
local a, r, last = {}, {}, 3 + ARGV[3]
for i = 4, last do a[i - 3] = tonumber(ARGV[i]) end
for i = last + 1, #ARGV do r[i - last] = tonumber(ARGV[i]) end

local t, key, raw, state, bad, new, ttl = twins[1], KEYS[1], {}, nil, false, nil, nil
raw = t.read(raw, 1, 1, now, a, false) or raw
local found = raw[1]
if broken[1] then
  bad = true
elseif found then
  state, bad = t.load(found, now, a)
end
if not bad then new, ttl = t.step(state, now, a, r) end
if found and t.tell and not broken[1] then t.tell(key, found, now, a) end
if new then
  write(t, key, new, ttl, now, a)
elseif new == false then
  call('DEL', key)
end
return {found, now, new ~= nil and 1 or 0}
