-- State: {start of the window, units counted in it}, the hash fields w and s. Numbers: budget, window in ms, largest
-- debt, 1 if the next window inherits debt. Request: what to do (1 debit, 2 charge, 3 refund, 4 set), units,
-- and for a refund the start of the window that is meant. A field that is missing means a fresh window.
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
  local limit, kind, units, new = a[1], r[1], r[2], nil
  if kind == 1 then
    if served >= limit or floor(units) ~= units then return nil end
    new = min(served + units, 9007199254740991)
  elseif kind == 2 then
    new = max(min(served + units, limit + a[3]), served)
  elseif kind == 3 then
    if served <= 0 or r[3] and r[3] ~= start then return nil end
    new = max(served - units, 0)
  else
    new = units
  end
  local debt = a[4] == 1 and min(max(new - limit, 0), a[3]) or 0
  local reset = ceil(start + a[2] * (1 + ceil(debt / limit)))
  return {start, new}, max(reset - now, 1)
end

local function save(key, state, ttl)
  call('HSET', key, 'w', text(state[1]), 's', text(state[2]))
  call('PEXPIRE', key, ttl)
end

return {read = read, load = load, step = step, save = save}
