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
