-- Any steps on any keys. Arguments: instant, least life, then all that `take` takes below.
local at = 2
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

-- Spans: keys that follow each other and belong to one program.
local raw, state, life, spans, last = {}, {}, {}, {}, 0
for s = 1, take() do
  local t, count, pure = twins[take()], take(), take() == 1
  local a, first = numbers(take()), last + 1
  last = last + count
  spans[s] = {t = t, a = a, first = first, last = last}
  t.read(raw, first, last, now, a, pure)
  if not pure then
    local load = t.load
    for k = first, last do
      local found = raw[k]
      if found and not broken[k] then state[k], broken[k] = load(found, now, a) end
    end
  end
end

local changes, conflict = 0, false

-- Groups of runs: one step on keys of a span that follow each other, or several times on one key. Under rule 0 each step
-- counts for itself; under rule 1 all of them count, or none. No step at all forgets the keys.
while at < #ARGV do
  local all, wanted, ok = take() == 1, {}, true
  for _ = 1, take() do
    local span, first, count, times = spans[take()], take(), take(), take()
    local a, step = span.a, span.t.step
    local r = numbers(take(), span.t.texts)
    for k = first, first + count - 1 do
      if times == 0 then
        broken[k], state[k], life[k], changes = nil, nil, 0, changes + 1
      elseif broken[k] then
        ok = false
      end
      for _ = 1, broken[k] and 0 or times do
        local new, ttl = step(state[k], now, a, r)
        if new == nil then
          ok, conflict = false, conflict or ttl == 'conflict'
          break
        elseif all then
          wanted[#wanted + 1] = {k, new, ttl}
        else
          state[k], life[k], changes = new or nil, ttl or 0, changes + 1
        end
      end
    end
  end
  if all and ok then
    for _, want in ipairs(wanted) do
      state[want[1]], life[want[1]], changes = want[2] or nil, want[3] or 0, changes + 1
    end
  end
end

-- What answers need is told before anything is written.
for _, span in ipairs(spans) do
  local tell = span.t.tell
  for k = span.first, tell and span.last or 0 do
    if raw[k] and not broken[k] then tell(KEYS[k], raw[k], now, span.a) end
  end
end

if conflict then
  changes = -1
else
  for _, span in ipairs(spans) do
    local save, a = span.t.save, span.a
    for k = span.first, span.last do
      if life[k] then
        if state[k] == nil then
          call('DEL', KEYS[k])
        else
          save(KEYS[k], state[k], lifetime(life[k]), now, a)
        end
      end
    end
  end
end

raw[last + 1], raw[last + 2] = now, changes
return raw
