-- Any steps on any keys. One that a step forgets is deleted, whatever later ones leave there: what saves a state may add to
-- what it finds, and cannot write to a key of another type.
-- Arguments: instant, least life, then all that `take` takes below.
local at, raw = 2, {}
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

local count = take()

-- No count of spans: they go on up to the end, and no step has to know of another but for those before it on its key. After
-- the numbers of a span come those of the one request for all its keys, and which of them take it how often if not once.
if count == 0 then
  local spans, last, changes = {}, 0, 0
  while at < #ARGV do
    local t, first = twins[take()], last + 1
    last = last + take()
    local pure, a, r, often = take() == 1, numbers(take()), numbers(take()), nil
    for _ = 1, take() / 2 do
      often = often or {}
      local k = first - 1 + take()
      often[k] = take()
    end
    spans[#spans + 1] = {t = t, a = a, r = r, first = first, last = last, pure = pure, often = often}
    raw = t.read(raw, first, last, now, a, pure) or raw
  end
  for _, span in ipairs(spans) do
    local t, a, r, pure, often = span.t, span.a, span.r, span.pure, span.often
    local load, step, show, save, tell = t.load, t.step, t.show, t.save, t.tell
    -- Keys that hold the same come to the same, those that hold nothing above all.
    local seen, bad, new, gone, as_text, life, more
    for k = span.first, span.last do
      local found = raw[k]
      if found ~= seen or often then
        local state, ttl
        seen, bad, new, gone, more = found, found and broken[k], nil, false, 0
        if found and not pure and not bad then state, bad = load(found, now, a) end
        if not pure and not bad then
          new, ttl = step(state, now, a, r)
          if new ~= nil then more, gone = 1, not new end
          for _ = 2, new ~= nil and often and often[k] or 1 do
            local newer, later = step(new or nil, now, a, r)
            if newer == nil then break end
            new, ttl, more, gone = newer, later, more + 1, gone or not newer
          end
          if new then
            life, as_text = lifetime(ttl), show and show(new)
          end
        end
      end
      -- What an answer needs is told before its key is written.
      if tell and found and not bad then tell(KEYS[k], found, now, a) end
      if gone then call('DEL', KEYS[k]) end
      if new then
        if show then
          call('SET', KEYS[k], as_text, 'PX', life)
        else
          save(KEYS[k], new, life, now, a)
        end
      end
      changes = changes + more
    end
  end
  raw[last + 1], raw[last + 2] = now, changes
  return raw
end

-- Spans: keys that follow each other and belong to one program.
local state, life, spans, last = {}, {}, {}, 0
for s = 1, count do
  local t, count, pure = twins[take()], take(), take() == 1
  local a, first = numbers(take()), last + 1
  last = last + count
  spans[s] = {t = t, a = a, first = first, last = last}
  raw = t.read(raw, first, last, now, a, pure) or raw
  if not pure then
    local load = t.load
    for k = first, last do
      local found = raw[k]
      if found and not broken[k] then state[k], broken[k] = load(found, now, a) end
    end
  end
end

local changes, conflict, gone = 0, false, {}
local function change(k, new, ttl)
  if not new then gone[k] = true end
  state[k], life[k], changes = new or nil, ttl or 0, changes + 1
end

-- Groups of runs: one step on keys of a span that follow each other, or several times on one key. Under rule 0 each step
-- counts for itself; under rule 1 all of them count, or none. No step at all forgets the keys.
while at < #ARGV do
  local all, wanted, ok = take() == 1, {}, true
  for _ = 1, take() do
    local span, first, count, times = spans[take()], take(), take(), take()
    local a, step = span.a, span.t.step
    local r = numbers(take(), span.t.texts)
    for k = first, first + count - 1 do
      local unreadable = broken[k] and not gone[k]
      if times == 0 then
        if all then wanted[#wanted + 1] = {k, false} else change(k, false) end
      elseif unreadable then
        ok = false
      end
      for _ = 1, unreadable and 0 or times do
        local new, ttl = step(state[k], now, a, r)
        if new == nil then
          ok, conflict = false, conflict or ttl == 'conflict'
          break
        elseif all then
          wanted[#wanted + 1] = {k, new, ttl}
        else
          change(k, new, ttl)
        end
      end
    end
  end
  if all and ok then
    for _, want in ipairs(wanted) do change(want[1], want[2], want[3]) end
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
    for k = span.first, span.last do
      if gone[k] then call('DEL', KEYS[k]) end
      if state[k] ~= nil and life[k] then write(span.t, KEYS[k], state[k], life[k], now, span.a) end
    end
  end
end

raw[last + 1], raw[last + 2] = now, changes
return raw
