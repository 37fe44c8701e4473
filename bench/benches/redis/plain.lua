-- One check by GCRA, as one would write it by hand for this alone.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local limit, cost = tonumber(ARGV[3]), tonumber(ARGV[5])
local interval = tonumber(ARGV[2]) / limit
local burst = tonumber(ARGV[4])
local tolerance = interval * burst
local tat = tonumber(redis.call('GET', KEYS[1]) or now)
if tat < now then tat = now end
local new = tat + interval * cost
local wait = new - tolerance - now
if wait > 0 then
  return {0, burst, math.max(0, math.floor((tolerance - (tat - now)) / interval)), math.ceil(tat), math.ceil(wait)}
end
redis.call('SET', KEYS[1], string.format('%.17g', new), 'PX', math.max(1, math.ceil(new - now)))
return {1, burst, math.max(0, math.floor((tolerance - (new - now)) / interval)), math.ceil(new), 0}
