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
