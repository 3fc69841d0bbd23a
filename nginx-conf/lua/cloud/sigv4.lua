-- AWS Signature Version 4, after "Signing AWS API requests" in AWS' documentation.

local crypto = require "cloud.crypto"

local concat, sort = table.concat, table.sort
local sha256, hmac, hex = crypto.sha256, crypto.hmac_sha256, crypto.hex

local M = {}

-- RFC 3986: all but the unreserved characters are escaped.
local function escape(text)
    return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

M.escape = escape

-- name=value&…, sorted by the escaped names; `values` is a table of strings.
function M.query(values)
    local pairs_ = {}
    for name, value in pairs(values) do
        pairs_[#pairs_ + 1] = { escape(name), escape(tostring(value)) }
    end
    sort(pairs_, function(a, b) return a[1] < b[1] end)
    for i, pair in ipairs(pairs_) do
        pairs_[i] = pair[1] .. "=" .. pair[2]
    end
    return concat(pairs_, "&")
end

-- The request as it is signed, and the names of the headers that are.
local function canonical(request)
    local names, values = {}, {}
    for name, value in pairs(request.headers) do
        name = name:lower()
        names[#names + 1] = name
        values[name] = value:gsub("^%s+", ""):gsub("%s+$", ""):gsub(" +", " ")
    end
    sort(names)
    local lines = {}
    for i, name in ipairs(names) do
        lines[i] = name .. ":" .. values[name]
    end
    local signed = concat(names, ";")
    local path = request.path:gsub("[^/]+", escape)
    return concat({
        request.method, path, request.query or "", concat(lines, "\n"), "", signed, hex(sha256(request.body or "")),
    }, "\n"), signed
end

-- The value of the header Authorization for `request` { method, path (not escaped), query (of M.query), headers with
-- Host and X-Amz-Date, body }, by `credentials` { id, secret }.
function M.authorization(request, credentials, region, service)
    local time = request.headers["X-Amz-Date"]
    local day = time:sub(1, 8)
    local scope = concat({ day, region, service, "aws4_request" }, "/")
    local text, signed = canonical(request)
    local to_sign = concat({ "AWS4-HMAC-SHA256", time, scope, hex(sha256(text)) }, "\n")
    local key = "AWS4" .. credentials.secret
    for _, part in ipairs { day, region, service, "aws4_request" } do
        key = hmac(key, part)
    end
    return ("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s"):format(
        credentials.id, scope, signed, hex(hmac(key, to_sign)))
end

return M
