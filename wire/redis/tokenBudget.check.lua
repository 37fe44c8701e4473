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
-- State: {start of the window, units counted in it}, the hash fields w and s. A field that is missing means a fresh window.
-- Numbers: budget, window in ms, largest debt, 1 if the next window inherits debt, 1 if all of a debit must be left.
-- Request: units, and what to do with them if not to debit them: of a lease or refund, 3 charge, 4 set.

-- 2^53 - 1: above it doubles skip whole numbers.
local MOST = 9007199254740991

local function read(raw, first, last)
  reply(raw, first, last, 'HMGET', 'w', 's')
end

local function load(raw)
  if not raw[1] or not raw[2] then return nil end
  local start, served = number(raw[1]), number(raw[2])
  if not start or not served then return nil, true end
  return {start, served}
end

-- Start and count of the window of now.
local function at(state, now, a)
  local limit, window = a[1], a[2]
  local start = floor(now / window) * window
  if state and now < state[1] + window then return state[1], state[2] end
  if state and a[4] == 1 and state[2] > limit then
    local passed = max(floor((start - state[1]) / window + 0.5), 1)
    return start, max(min(state[2] - limit, a[3]) - (passed - 1) * limit, 0)
  end
  return start, 0
end

local function step(state, now, a, r)
  local start, served = at(state, now, a)
  local limit, window, units, kind, new = a[1], a[2], r[1], r[2], nil
  if not kind then
    new = served + units
    local left = served < limit and new <= MOST
    if a[5] == 1 then left = new <= limit end
    if not left or floor(units) ~= units then return nil end
  elseif kind == LEASE then
    if floor(units) ~= units then return nil end
    return lease(step, limit - served, state, now, a, r)
  elseif kind == GIVE_BACK then
    if served <= 0 then return nil end
    if r[3] == 1 and r[4] == ceil(state[1] + window) then
      -- Also if that window is over: later ones inherit less, and others may give back to it too.
      start, served = state[1], state[2]
    elseif r[3] == 1 and r[4] ~= ceil(start + window) then
      return nil
    end
    new = max(served - floor(units), 0)
  elseif kind == 3 then
    new = served + units
    if new > MOST then return nil end
  else
    new = units
  end
  local debt = a[4] == 1 and min(max(new - limit, 0), a[3]) or 0
  local reset = ceil(start + window * (1 + ceil(debt / limit)))
  return {start, new}, max(reset - now, 1)
end

local function save(key, state, ttl)
  call('HSET', key, 'w', text(state[1]), 's', text(state[2]))
  call('PEXPIRE', key, ttl)
end

return {read = read, load = load, step = step, save = save}
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
