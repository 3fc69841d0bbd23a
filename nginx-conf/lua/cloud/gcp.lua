-- The size of a managed instance group: instanceGroupManagers.resize of the Compute Engine API, v1, zonal or regional.
--
-- A service account's key signs a JWT (RFC 7523), which Google's token endpoint changes into an access token. The size
-- is absolute, and requestId, made of the order's id, lets Google tell a repetition.

local base64 = require "ngx.base64"
local call = require "cloud.call"
local cjson = require "cjson.safe"
local crypto = require "cloud.crypto"
local file = require("cloud.order").file
local escape = require("cloud.sigv4").escape

local encode = base64.encode_base64url

local SCOPE = "https://www.googleapis.com/auth/compute"
local GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

local M = {}

local function account(options)
    local path = options.credentials_file or os.getenv "GOOGLE_APPLICATION_CREDENTIALS"
    if not path then
        return nil, "no GOOGLE_APPLICATION_CREDENTIALS: name it in env, or give credentials_file"
    end
    local text, why = file(path)
    if not text then
        return nil, why
    end
    local json = cjson.decode(text)
    if type(json) ~= "table" or type(json.client_email) ~= "string" or type(json.private_key) ~= "string" then
        return nil, path .. ": not the key of a service account: client_email and private_key are needed"
    end
    json.token_uri = json.token_uri or "https://oauth2.googleapis.com/token"
    return json
end

-- A JWT (RFC 7519) that says who asks, for an hour.
function M.assertion(json, now)
    local header = { alg = "RS256", typ = "JWT", kid = json.private_key_id }
    local claims = { iss = json.client_email, scope = SCOPE, aud = json.token_uri, iat = now, exp = now + 3600 }
    local text = encode(cjson.encode(header)) .. "." .. encode(cjson.encode(claims))
    local signature, why = crypto.rs256(json.private_key, text)
    if not signature then
        return nil, why
    end
    return text .. "." .. encode(signature)
end

local function token(json, name)
    return call.token(name, "Google's token", function()
        local assertion, why = M.assertion(json, ngx.time())
        if not assertion then
            return nil, "the service account's key: " .. why
        end
        return call.send("Google's token", {
            method = "POST", url = json.token_uri,
            headers = { ["Content-Type"] = "application/x-www-form-urlencoded" },
            body = "grant_type=" .. escape(GRANT) .. "&assertion=" .. assertion,
        })
    end)
end

-- The order's id as a UUID, which requestId must be: always the same for the same order, and its group's alone.
local function request_id(order, path)
    local hex = crypto.hex(crypto.sha256(path .. "\n" .. order.id))
    return ("%s-%s-8%s-a%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(14, 16), hex:sub(18, 20), hex:sub(21, 32))
end

-- Sets the size of `options` { project =, zone = or region =, group =, credentials_file =, endpoint = } to `order.to`.
function M.resize(options, order)
    local json, why = account(options)
    if not json then
        return nil, why
    end
    local place = options.zone and "zones/" .. escape(options.zone) or "regions/" .. escape(options.region)
    local path = ("/compute/v1/projects/%s/%s/instanceGroupManagers/%s/resize"):format(
        escape(options.project), place, escape(options.group))
    local url = ("%s%s?size=%d&requestId=%s"):format(
        options.endpoint or "https://compute.googleapis.com", path, order.to, request_id(order, path))
    local name = "gcp:" .. json.client_email .. ":" .. tostring(json.private_key_id)
    local get = function() return token(json, name) end
    local res, problem, after = call.with_token(name, "Google", get, { method = "POST", url = url, body = "" })
    if not res then
        return nil, problem, after
    end
    local operation = cjson.decode(res.body)
    local errors = type(operation) == "table" and res.status == 200 and operation.error
    local first = type(errors) == "table" and type(errors.errors) == "table" and errors.errors[1]
    if first then
        return nil, ("Google: %s %s"):format(tostring(first.code), tostring(first.message))
    end
    if res.status == 200 then
        return true
    end
    return call.failed("Google", res, call.said(res))
end

return M
