-- Runs a script of a person's between Envoy and itself: without files, processes and other machines' secrets,
-- with an end, and so that what fails is refused. name, open and source come before this text.
jit.off() -- compiled loops do not count
local limit, step = 10, 1000000
local too_long = "ran for more than " .. limit * step .. " instructions"
local spent = setmetatable({}, { __mode = "k" }) -- steps of a call, by its coroutine

local rep, getmeta, running, sethook = string.rep, getmetatable, coroutine.running, debug.sethook
local try, loadtext = pcall, loadstring
string.dump = nil
string.rep = function(s, n)
  if #s * n > 1048576 then error("string.rep gives more than 1 MiB", 2) end
  return rep(s, n)
end

local function over(co) return co and (spent[co] or 0) >= limit end

-- guarded passes on what pcall returned, but for the end of a call, which a script may not catch.
local function guarded(ok, ...)
  if not ok and over(running()) then error(too_long, 0) end
  return ok, ...
end

local env = {
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, rawequal = rawequal, rawget = rawget,
  rawset = rawset, select = select, setmetatable = setmetatable, tonumber = tonumber, tostring = tostring, type = type,
  unpack = unpack, bit = bit, math = math, string = string, table = table,
  os = { clock = os.clock, date = os.date, difftime = os.difftime, time = os.time },
  pcall = function(...) return guarded(try(...)) end,
}
env._G = env

local script, wrong = loadtext(source, "=" .. name)
if not script then error(wrong, 0) end
setfenv(script, env)

-- fence lets a script call services of the mesh, and nothing else that Envoy knows, like its sources of secrets.
local fenced = {}
local function fence(handle)
  local meta = getmeta(handle)
  if fenced[meta] then return end
  fenced[meta] = true
  local call = meta.httpCall
  meta.httpCall = function(self, cluster, ...)
    if type(cluster) ~= "string" or not cluster:find("^[^/|]+/[^/|]+:%d+$") then
      error("httpCall: name a service of the mesh as namespace/host:port", 2)
    end
    return call(self, cluster, ...)
  end
end

-- attempt calls one of the script's functions and says whether the message may go on.
local function attempt(f, handle)
  fence(handle)
  local co = running()
  if co then spent[co] = 0 end
  local ok, why = try(f, handle)
  if co then spent[co] = nil end
  if ok then return true end
  handle:logErr("extension " .. name .. ": " .. tostring(why))
  return open
end

local failed = "weft: extension " .. name .. " failed\n"

sethook(function()
  local co = running()
  if not co or not spent[co] then return end
  spent[co] = spent[co] + 1
  if over(co) then error(too_long, 0) end
end, "", step)
script()

if env.envoy_on_request then
  function envoy_on_request(handle)
    if not attempt(env.envoy_on_request, handle) then handle:respond({ [":status"] = "500" }, failed) end
  end
end
if env.envoy_on_response then
  function envoy_on_response(handle)
    if attempt(env.envoy_on_response, handle) then return end
    try(function() -- what has gone already stays
      handle:headers():replace(":status", "500")
      handle:body(true):setBytes(failed)
    end)
  end
end
if not env.envoy_on_request and not env.envoy_on_response then
  error(name .. ": has neither a function envoy_on_request nor envoy_on_response", 0)
end
