-- A text that was judged elsewhere: the run comes to nothing unless it is still there.
-- Request: 1 and the expected text, or 0 and nothing; then 0 to keep it, 1, the new text and its life in ms, or 2 to forget it.
local function load(raw)
  return raw
end

local function step(found, now, a, r)
  local expected = r[1] == '1' and r[2] or nil
  if found ~= expected then return nil, 'conflict' end
  if r[3] == '0' then return nil end
  if r[3] == '2' then return false end
  return r[4], tonumber(r[5])
end

local function show(new)
  return new
end

return {read = strings, load = load, step = step, show = show, texts = true}
