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
-- State: the counts of the buckets that matter now: {before = those of the window but the current one, current, oldest =
-- that which leaves}. Stored as hash fields: place of the bucket -> `bucket:count`.
-- Numbers: limit, window, buckets, length of a bucket. Request: cost; or of a lease or refund.
local function read(raw, first, last)
  reply(raw, first, last, 'HGETALL')
end

local function load(raw, now, a)
  local places, bucket = a[3] + 1, floor(now / a[4])
  local counts = {}
  for i = 1, #raw, 2 do
    local of, count = string.match(raw[i + 1], '^(.-):(.*)$')
    of, count = number(of), number(count)
    if not of or not count then return nil, true end
    if number(raw[i]) == of % places then counts[of] = count end
  end
  local before = 0
  for of = bucket - a[3] + 1, bucket - 1 do
    before = before + (of >= 0 and counts[of] or 0)
  end
  local oldest = bucket - a[3]
  return {before, counts[bucket] or 0, oldest >= 0 and counts[oldest] or 0}
end

local function step(counts, now, a, r)
  local length = a[4]
  local elapsed = max(now - floor(now / length) * length, 0)
  local weight = min(max((length - elapsed) / length, 0), 1)
  counts = counts or {0, 0, 0}
  local used = counts[1] + counts[2] + counts[3] * weight
  if r[2] == GIVE_BACK then
    local reset = ceil((floor(now / length) + 1) * length + a[2])
    if counts[2] <= 0 or r[3] == 1 and r[4] ~= reset then return nil end
    return {counts[1], counts[2] - min(r[1], counts[2]), counts[3]}, a[2] + length
  elseif r[2] == LEASE then
    return lease(step, floor(a[1] - used), counts, now, a, r)
  end
  if used + r[1] <= used or used + r[1] > a[1] then return nil end
  return {counts[1], counts[2] + r[1], counts[3]}, a[2] + length
end

local function save(key, counts, ttl, now, a)
  local bucket = floor(now / a[4])
  call('HSET', key, text(bucket % (a[3] + 1)), format('%.0f:%.17g', bucket, counts[2]))
  call('PEXPIRE', key, ttl)
end

return {read = read, load = load, step = step, save = save}
end)()
twins[2] = (function()
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
twins[3] = (function()
-- State: when the next unit departs, a text of its own. Numbers: ms for a unit, longest wait. Request: cost.
local function load(raw)
  local departure = number(raw)
  return departure, not departure or nil
end

local function step(departure, now, a, r)
  if not departure or departure < now then departure = now end
  local next = departure + a[1] * r[1]
  if next == departure or departure - now > a[2] then return nil end
  return next, next - now
end

return {read = strings, load = load, step = step, show = text}
end)()
twins[4] = (function()
-- State: {start of the window, count}, the hash fields s and c. Request: cost; or of a lease or refund.
-- Numbers: limit, then how the windows lie: 1 month, 2 week, 3 day, 4 fixed; period and anchor (fixed), offset (calendar),
-- first day of the week (week).
local DAY = 86400000

local function read(raw, first, last)
  reply(raw, first, last, 'HMGET', 's', 'c')
end

local function load(raw)
  if not raw[1] and not raw[2] then return nil end
  local start, count = number(raw[1]), number(raw[2])
  if not start or not count then return nil, true end
  return {start, count}
end

-- The first day of the month of `day`, and that of the next. Day 0 is the 1st of January 1970; years begin in March, so
-- that a leap day ends one.
local function month_of(day)
  local since = day + 719468
  local era = floor(since / 146097)
  local of_era = since - era * 146097
  local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * of_year + 2) / 153)
  local first = day - (of_year - floor((153 * month + 2) / 5))
  local length = floor((153 * (month + 1) + 2) / 5) - floor((153 * month + 2) / 5)
  if month == 11 then
    -- February ends the year that began in the March before: it is long if the year that follows it is a leap year.
    local civil = year + era * 400 + 1
    local leap = civil % 4 == 0 and (civil % 100 ~= 0 or civil % 400 == 0)
    length = leap and 29 or 28
  end
  return first, first + length
end

-- The window of `now`: its start and its end.
local function span(now, a)
  local mode, period, offset = a[2], a[3], a[5]
  if mode == 4 then
    local start = a[4] + floor((now - a[4]) / period) * period
    return start, start + period
  end
  local day = floor((now + offset) / DAY)
  local first, after = day, day + 1
  if mode == 1 then
    first, after = month_of(day)
  elseif mode == 2 then
    first = day - ((day + 4) % 7 - a[6]) % 7
    after = first + 7
  end
  return first * DAY - offset, after * DAY - offset
end

local function step(window, now, a, r)
  -- Leases never go back to an earlier window, by whatever clock they are asked for.
  local at = r[2] and window and max(window[1], now) or now
  local start, reset = span(at, a)
  local used = window and window[1] == start and window[2] or 0
  if r[2] == GIVE_BACK then
    if used <= 0 or r[3] == 1 and r[4] ~= ceil(reset) then return nil end
    return {start, max(used - r[1], 0)}, reset - now
  elseif r[2] == LEASE then
    local new, ttl = lease(step, floor(a[1] - used), window, at, a, r)
    return new, new and ttl + (at - now)
  end
  local count = used + r[1]
  if count <= used or count > a[1] then return nil end
  return {start, count}, reset - now
end

local function save(key, window, ttl)
  call('HSET', key, 's', text(window[1]), 'c', text(window[2]))
  call('PEXPIRE', key, ttl)
end

return {read = read, load = load, step = step, save = save}
end)()
twins[5] = (function()
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
twins[6] = (function()
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
    local due = r[3] == 1 and r[4] - now or math.huge
    if tokens >= a[1] or due <= 0 then return nil end
    tokens = tokens + min(r[1], due * a[2])
    if tokens >= a[1] then return false end
    return {tokens, now}, a[3]
  elseif r[2] == LEASE then
    return lease(step, floor(tokens), level, now, a, r)
  end
  local left = tokens - r[1]
  if left >= tokens or tokens < r[1] then return nil end
  return {left, now}, a[3]
end

local function save(key, level, ttl)
  call('HSET', key, 't', text(level[1]), 'l', text(level[2]))
  call('PEXPIRE', key, ttl)
end

return {read = read, load = load, step = step, save = save}
end)()
twins[7] = (function()
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
twins[8] = (function()
-- State: {whole ms, rest below the limit}, the text `ms:rest`. Numbers: limit, period, burst. Request: cost; or of a lease or refund.
-- No number here is above 2^53 where it decides something, so all of them are exact.
local function load(raw)
  local ms, rest = string.match(raw, '^(%-?%d+):(%d+)$')
  if not ms then return nil, true end
  return {number(ms), number(rest)}
end

local function step(tat, now, a, r)
  local limit, period, burst = a[1], a[2], a[3]
  local cost = r[1]
  if r[2] == LEASE then
    local ahead = tat and tat[1] >= now and (tat[1] - now) * limit + min(tat[2], limit - 1) or 0
    return lease(step, floor((period * burst - ahead) / period), tat, now, a, r)
  end
  local back = r[2] == GIVE_BACK
  if cost > burst and not back or cost ~= floor(cost) then return nil end
  local tolerance, backlog = period * burst, 0
  if tat and tat[1] >= now then
    local ahead, rest = tat[1] - now, min(tat[2], limit - 1)
    -- Beyond the tolerance there is only what a clock left there that went back since.
    if ahead > tolerance / limit or rest > tolerance - ahead * limit then return nil end
    backlog = ahead * limit + rest
  end
  local next
  if back then
    local due = r[3] == 1 and r[4] - now or math.huge
    if backlog == 0 or due <= 0 then return nil end
    next = backlog - min(period * cost, due * limit)
    if next <= 0 then return false end
  else
    if period * cost > tolerance - backlog then return nil end
    next = backlog + period * cost
  end
  local rest = math.fmod(next, limit)
  local ms = (next - rest) / limit
  return {now + ms, rest}, rest > 0 and ms + 1 or ms
end

local function show(tat)
  return format('%.0f:%.0f', tat[1], tat[2])
end

return {read = strings, load = load, step = step, show = show}
end)()

-- Any steps on any keys. One that a step forgets is deleted, whatever later ones leave there: what saves a state may add to
-- what it finds, and cannot write to a key of another type.
-- Arguments: instant, least life, then all that `take` takes below.
local at, raw = 2, {}
local function take()
  at = at + 1
  return tonumber(ARGV[at])
end
local function numbers(n, as_text)
  local some = {}
  for i = 1, n do
    at = at + 1
    some[i] = as_text and ARGV[at] or tonumber(ARGV[at])
  end
  return some
end

local count = take()

-- No count of spans: they go on up to the end, and no step has to know of another but for those before it on its key. After
-- the numbers of a span come those of the one request for all its keys, and which of them take it how often if not once.
if count == 0 then
  local spans, last, changes = {}, 0, 0
  while at < #ARGV do
    local t, first = twins[take()], last + 1
    last = last + take()
    local pure, a, r, often = take() == 1, numbers(take()), numbers(take()), nil
    for _ = 1, take() / 2 do
      often = often or {}
      local k = first - 1 + take()
      often[k] = take()
    end
    spans[#spans + 1] = {t = t, a = a, r = r, first = first, last = last, pure = pure, often = often}
    raw = t.read(raw, first, last, now, a, pure) or raw
  end
  for _, span in ipairs(spans) do
    local t, a, r, pure, often = span.t, span.a, span.r, span.pure, span.often
    local load, step, show, save, tell = t.load, t.step, t.show, t.save, t.tell
    -- Keys that hold the same come to the same, those that hold nothing above all.
    local seen, bad, new, gone, as_text, life, more
    for k = span.first, span.last do
      local found = raw[k]
      if found ~= seen or often then
        local state, ttl
        seen, bad, new, gone, more = found, found and broken[k], nil, false, 0
        if found and not pure and not bad then state, bad = load(found, now, a) end
        if not pure and not bad then
          new, ttl = step(state, now, a, r)
          if new ~= nil then more, gone = 1, not new end
          for _ = 2, new ~= nil and often and often[k] or 1 do
            local newer, later = step(new or nil, now, a, r)
            if newer == nil then break end
            new, ttl, more, gone = newer, later, more + 1, gone or not newer
          end
          if new then
            life, as_text = lifetime(ttl), show and show(new)
          end
        end
      end
      -- What an answer needs is told before its key is written.
      if tell and found and not bad then tell(KEYS[k], found, now, a) end
      if gone then call('DEL', KEYS[k]) end
      if new then
        if show then
          call('SET', KEYS[k], as_text, 'PX', life)
        else
          save(KEYS[k], new, life, now, a)
        end
      end
      changes = changes + more
    end
  end
  raw[last + 1], raw[last + 2] = now, changes
  return raw
end

-- Spans: keys that follow each other and belong to one program.
local state, life, spans, last = {}, {}, {}, 0
for s = 1, count do
  local t, count, pure = twins[take()], take(), take() == 1
  local a, first = numbers(take()), last + 1
  last = last + count
  spans[s] = {t = t, a = a, first = first, last = last}
  raw = t.read(raw, first, last, now, a, pure) or raw
  if not pure then
    local load = t.load
    for k = first, last do
      local found = raw[k]
      if found and not broken[k] then state[k], broken[k] = load(found, now, a) end
    end
  end
end

local changes, conflict, gone = 0, false, {}
local function change(k, new, ttl)
  if not new then gone[k] = true end
  state[k], life[k], changes = new or nil, ttl or 0, changes + 1
end

-- Groups of runs: one step on keys of a span that follow each other, or several times on one key. Under rule 0 each step
-- counts for itself; under rule 1 all of them count, or none. No step at all forgets the keys.
while at < #ARGV do
  local all, wanted, ok = take() == 1, {}, true
  for _ = 1, take() do
    local span, first, count, times = spans[take()], take(), take(), take()
    local a, step = span.a, span.t.step
    local r = numbers(take(), span.t.texts)
    for k = first, first + count - 1 do
      local unreadable = broken[k] and not gone[k]
      if times == 0 then
        if all then wanted[#wanted + 1] = {k, false} else change(k, false) end
      elseif unreadable then
        ok = false
      end
      for _ = 1, unreadable and 0 or times do
        local new, ttl = step(state[k], now, a, r)
        if new == nil then
          ok, conflict = false, conflict or ttl == 'conflict'
          break
        elseif all then
          wanted[#wanted + 1] = {k, new, ttl}
        else
          change(k, new, ttl)
        end
      end
    end
  end
  if all and ok then
    for _, want in ipairs(wanted) do change(want[1], want[2], want[3]) end
  end
end

-- What answers need is told before anything is written.
for _, span in ipairs(spans) do
  local tell = span.t.tell
  for k = span.first, tell and span.last or 0 do
    if raw[k] and not broken[k] then tell(KEYS[k], raw[k], now, span.a) end
  end
end

if conflict then
  changes = -1
else
  for _, span in ipairs(spans) do
    for k = span.first, span.last do
      if gone[k] then call('DEL', KEYS[k]) end
      if state[k] ~= nil and life[k] then write(span.t, KEYS[k], state[k], life[k], now, span.a) end
    end
  end
end

raw[last + 1], raw[last + 2] = now, changes
return raw
