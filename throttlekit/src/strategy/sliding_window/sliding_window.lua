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
