-- One step on one key. Arguments: instant, least life, how many numbers the program has, those, those of the request.
local a, r, last = {}, {}, 3 + ARGV[3]
for i = 4, last do a[i - 3] = tonumber(ARGV[i]) end
for i = last + 1, #ARGV do r[i - last] = tonumber(ARGV[i]) end

local t, key, raw, state, bad, new, ttl = twins[1], KEYS[1], {}, nil, false, nil, nil
raw = t.read(raw, 1, 1, now, a, false) or raw
local found = raw[1]
if broken[1] then
  bad = true
elseif found then
  state, bad = t.load(found, now, a)
end
if not bad then new, ttl = t.step(state, now, a, r) end
if found and t.tell and not broken[1] then t.tell(key, found, now, a) end
if new then
  write(t, key, new, ttl, now, a)
elseif new == false then
  call('DEL', key)
end
return {found, now, new ~= nil and 1 or 0}
