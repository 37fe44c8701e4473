local now=tonumber(ARGV[1])
if now==0 then local t=redis.call('TIME') now=t[1]*1000+math.floor(t[2]/1000) end
local period=tonumber(ARGV[2]) local limit=tonumber(ARGV[3]) local burst=tonumber(ARGV[4]) local cost=tonumber(ARGV[5])
local T=period/limit local tau=T*burst
local s=redis.call('GET',KEYS[1])
local tat=s and tonumber(s) or now if tat<now then tat=now end
local new=tat+T*cost local at=new-tau
if now<at then return {0,burst,math.max(0,math.floor((tau-(tat-now))/T)),math.ceil(tat),math.ceil(at-now)} end
redis.call('SET',KEYS[1],string.format('%.17g',new),'PX',math.max(1,math.ceil(new-now)))
return {1,burst,math.max(0,math.floor((tau-(new-now))/T)),math.ceil(new),0}
