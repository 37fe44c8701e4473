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
