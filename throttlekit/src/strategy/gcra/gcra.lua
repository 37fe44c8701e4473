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
