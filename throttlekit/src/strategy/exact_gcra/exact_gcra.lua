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
