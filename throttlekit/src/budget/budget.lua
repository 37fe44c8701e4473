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
