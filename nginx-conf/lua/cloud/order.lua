-- The receiving end of `autoscale_target NAME webhook:URL secret_file=FILE`, for a cloud that wants its requests signed
-- another way.
--
-- An order is believed only with the signature of the Standard Webhooks specification (standardwebhooks.com): the
-- header webhook-signature has `v1,` and the base64 of the HMAC-SHA256 of `ID.TIMESTAMP.BODY`. It is carried out once:
-- its id is remembered for longer than its timestamp is valid. The orders of one target are carried out one at a time,
-- so that an older number cannot arrive after a newer one, and an order of an older leader than the newest that was
-- heard of (a smaller `fence`) is refused.

local crypto = require "cloud.crypto"
local cjson = require "cjson.safe"

local floor = math.floor

-- Seconds that a timestamp may be off, and that ids are remembered.
local TOLERANCE, REMEMBERED = 300, 900
-- Seconds after which a target is free again although its order was not seen to end, because its worker died: longer
-- than all calls of one order together may take.
local BUSY = 20

local M = {}

-- The content of a file without white space at its end, read now: whoever rotates a secret replaces the file.
function M.file(path)
    local file, why = io.open(path, "rb")
    if not file then
        return nil, why
    end
    local text = file:read("*a")
    file:close()
    if not text then
        return nil, path .. ": cannot be read"
    end
    return (text:gsub("%s+$", ""))
end

local function key(path)
    local secret, why = M.file(path)
    if not secret then
        return nil, why
    end
    if secret == "" then
        return nil, path .. " is empty"
    end
    local encoded = secret:match("^whsec_(.*)$")
    return encoded and ngx.decode_base64(encoded) or secret
end

local function body()
    ngx.req.read_body()
    local text = ngx.req.get_body_data()
    if text then
        return text
    end
    local path = ngx.req.get_body_file()
    if not path then
        return ""
    end
    local file = io.open(path, "rb")
    text = file and file:read("*a") or ""
    if file then
        file:close()
    end
    return text
end

-- The body, if it was signed with the secret; else nil, a status and why.
local function signed(secret_file)
    local secret, why = key(secret_file)
    if not secret then
        return nil, 500, why
    end
    local headers = ngx.req.get_headers()
    local id, time, signatures = headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"]
    if type(id) ~= "string" or type(time) ~= "string" or type(signatures) ~= "string" then
        return nil, 401, "not signed: webhook-id, webhook-timestamp and webhook-signature are needed, once each"
    end
    if not time:find("^%d+$") then
        return nil, 401, "webhook-timestamp is no number"
    end
    local text = body()
    local want = crypto.hmac_sha256(secret, id .. "." .. time .. "." .. text)
    local known = false
    for version, signature in signatures:gmatch("(%w+),(%S+)") do
        local got = version == "v1" and ngx.decode_base64(signature)
        known = got and crypto.equal(got, want) or known
    end
    if not known then
        return nil, 401, "wrong signature: do both sides read the same secret_file?"
    end
    local off = ngx.time() - tonumber(time)
    if math.abs(off) > TOLERANCE then
        return nil, 401, ("signed %d s %s: do both clocks agree?"):format(math.abs(off), off > 0 and "ago" or "ahead")
    end
    return text, id
end

local function replicas(n)
    return type(n) == "number" and n >= 0 and n <= 1e6 and n == floor(n)
end

-- The order of the body: id, target, from, to, fence, reason …
local function parse(text, id)
    local order = cjson.decode(text)
    if type(order) ~= "table" or type(order.id) ~= "string" or type(order.target) ~= "string" then
        return nil, "not an order: id and target are needed"
    end
    if order.id ~= id then
        return nil, "the order's id is not that of the header"
    end
    if not replicas(order.to) then
        return nil, "not an order: \"to\" is a number of replicas"
    end
    if order.fence ~= nil and type(order.fence) ~= "number" then
        return nil, "not an order: \"fence\" is a number"
    end
    return order
end

local function answer(status, json, retry_after)
    ngx.status = status
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Retry-After"] = retry_after
    ngx.say(json)
    return ngx.exit(ngx.HTTP_OK)
end

local function failed(status, why, retry_after)
    return answer(status, '{"error":' .. cjson.encode(why) .. "}", retry_after)
end

local function succeeded(order, more)
    return answer(200, ('{"replicas":%d%s}'):format(order.to, more or ""))
end

local function refuse(order, status, why, retry_after)
    ngx.log(ngx.ERR, "order ", order and order.id or "?", " not carried out: ", why)
    return failed(status, why, retry_after)
end

-- Refuses an order of an older leader, and notes the newest.
local function is_old(orders, order)
    local name, fence = "fence:" .. order.target, order.fence or 0
    local newest = orders:get(name)
    if newest and fence < newest then
        return newest
    end
    -- for as long as an older order could still be believed: a new zone may begin to count again
    orders:set(name, fence, TOLERANCE)
end

-- Content handler: carries the order of this request out by `resize(order)`, which returns true; or nil, why, and, if
-- it is worth another try, the seconds after which. `options` { secret_file =, orders = a lua_shared_dict's name }.
function M.handle(options, resize)
    if ngx.req.get_method() ~= "POST" then
        return failed(405, "orders are sent by POST")
    end
    local text, id, why = signed(options.secret_file)
    if not text then
        return refuse(nil, id, why)
    end
    local order
    order, why = parse(text, id)
    if not order then
        return refuse(nil, 400, why)
    end
    local orders, done, busy = ngx.shared[options.orders], "order:" .. id, "busy:" .. order.target
    if not orders then
        return refuse(order, 500, "no lua_shared_dict \"" .. tostring(options.orders) .. "\"")
    end
    if orders:get(done) then
        return succeeded(order, ',"repeated":true')
    end
    local newest = is_old(orders, order)
    if newest then
        why = ("the leader of fence %d has given way to that of %d"):format(order.fence or 0, newest)
        return refuse(order, 409, why)
    end
    if not orders:add(busy, id, BUSY) then
        return failed(503, "another order for this target is being carried out", 1)
    end
    if orders:get(done) then
        orders:delete(busy)
        return succeeded(order, ',"repeated":true')
    end
    local called, ok, problem, after = pcall(resize, order)
    if called and ok then
        orders:set(done, true, REMEMBERED)
    end
    orders:delete(busy)
    if not called then
        return refuse(order, 500, tostring(ok))
    elseif not ok then
        -- what no further try would change is told from what one may: 424 Failed Dependency (RFC 4918)
        return refuse(order, after and 503 or 424, problem, after)
    end
    ngx.log(ngx.NOTICE, "order ", id, ": ", order.target, " gets ", order.to, " replicas: ", order.reason)
    return succeeded(order)
end

return M
