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
