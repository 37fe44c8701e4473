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
-- State: {units in the window, how many of them are new}. Stored as a sorted set with a member for each unit, its instant
-- as the score. Numbers: limit, window. Request: cost; or of a lease or refund.
-- The answer needs the oldest instants only, so `raw` is {units, latest instant, oldest instants...}.
local function read(raw, first, last, now, a, pure)
  local stale = text(now - a[2])
  for i = first, last do
    local key = KEYS[i]
    if not pure then try('ZREMRANGEBYSCORE', key, '-inf', stale) end
    local units = try('ZCOUNT', key, '(' .. stale, '+inf')
    if type(units) == 'table' then
      raw[i], broken[i] = units, true
    else
      raw[i] = units > 0 and {units} or false
    end
  end
end

local function load(raw)
  -- The table is shared by all states of a run: it notes how many of the oldest instants answers will need.
  return {raw[1], 0, raw}
end

local function step(log, now, a, r)
  local units = ceil(r[1])
  local used, new, raw = 0, 0, nil
  if log then used, new, raw = log[1], log[2], log[3] end
  if r[2] == GIVE_BACK then
    return nil
  elseif r[2] == LEASE then
    return lease(step, floor(a[1] - used), log, now, a, r)
  end
  if used + units > a[1] then
    if raw then
      raw.need = max(raw.need or 1, min(ceil(used + units - a[1]), used))
    end
    return nil
  end
  return {used + units, new + units, raw}, a[2]
end

local function tell(key, raw, now, a)
  local need = max(raw.need or 1, ceil(raw[1] + 1 - a[1]))
  local oldest = call('ZRANGEBYSCORE', key, '(' .. text(now - a[2]), '+inf', 'WITHSCORES', 'LIMIT', 0, text(need))
  raw[2] = call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]
  for i = 2, #oldest, 2 do raw[#raw + 1] = oldest[i] end
end

local function save(key, log, ttl, now)
  local score, name = text(now), text(now) .. '-'
  local last, missing = log[1] - log[2], log[2]
  -- A name may be taken, by a unit of the same instant that was counted from another beginning.
  while missing > 0 do
    local members = {}
    for i = 1, min(missing, 2000) do
      last = last + 1
      members[2 * i - 1], members[2 * i] = score, name .. text(last)
    end
    missing = missing - call('ZADD', key, unpack(members))
  end
  call('PEXPIRE', key, ttl)
end

return {read = read, load = load, step = step, tell = tell, save = save}
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
