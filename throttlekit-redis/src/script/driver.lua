local at = 0
local function take()
  at = at + 1
  return tonumber(ARGV[at])
end
local function numbers(n, as_text)
  local some = {}
  for i = 1, n do
    at = at + 1
    some[i] = as_text and ARGV[at] or tonumber(ARGV[at])
  end
  return some
end

local now, least = take(), take()
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000 + floor(time[2] / 1000)
end

-- Spans: keys that follow each other and belong to one program.
local raw, state, life, broken, twin, args = {}, {}, {}, {}, {}, {}
local last = 0
for _ = 1, take() do
  local t, count, pure = twins[take()], take(), take() == 1
  local a = numbers(take())
  local first = last + 1
  last = last + count
  t.read(raw, first, last, now, a, pure)
  for k = first, last do
    local found = raw[k]
    twin[k], args[k] = t, a
    if found and not pure then
      if type(found) == 'table' and found.err then
        broken[k] = true
      else
        state[k], broken[k] = t.load(found, now, a)
      end
    end
  end
end

-- Groups of runs. Under rule 0 each step counts for itself; under rule 1 all of them count, or none.
local written, changes, conflict = {}, 0, false
local function put(k, new, ttl)
  if life[k] == nil then written[#written + 1] = k end
  state[k], life[k], changes = new or nil, ttl or 0, changes + 1
end

while at < #ARGV do
  local all = take() == 1
  local wanted, ok = {}, true
  for _ = 1, take() do
    local first, count, times = take(), take(), take()
    local r = numbers(take(), twin[first].texts)
    for k = first, first + count - 1 do
      if times == 0 then
        broken[k] = nil
        put(k, false)
      elseif broken[k] then
        ok = false
      else
        local step, a = twin[k].step, args[k]
        for _ = 1, times do
          local new, ttl = step(state[k], now, a, r)
          if ttl == 'conflict' then conflict = true end
          if new == nil then
            ok = false
            break
          elseif all then
            wanted[#wanted + 1] = {k, new, ttl}
          else
            put(k, new, ttl)
          end
        end
      end
    end
  end
  if all and ok then
    for _, want in ipairs(wanted) do put(want[1], want[2], want[3]) end
  end
end

for k = 1, last do
  local found = raw[k]
  if found and twin[k].tell and not found.err then twin[k].tell(KEYS[k], found, now, args[k]) end
end

if conflict then
  changes = -1
else
  for _, k in ipairs(written) do
    if state[k] == nil then
      call('DEL', KEYS[k])
    else
      local ttl = string.format('%.0f', max(1, ceil(life[k]), least))
      twin[k].save(KEYS[k], state[k], ttl, now, args[k])
    end
  end
end

raw[last + 1], raw[last + 2] = now, changes
return raw
