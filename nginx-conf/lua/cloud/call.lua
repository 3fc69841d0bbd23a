-- What calls to all clouds have in common: one try, its answer as JSON, and what its failure means.

local http = require "autoscale.http"
local cjson = require "cjson.safe"

-- The target's own timeout is 5 s: an answer must come before.
local TIMEOUT = { connect = 1000, read = 3000, total = 4000 }
-- Clouds take signatures and tokens that are this many seconds off.
local SKEW = 240
local RETRY = 1
-- Bytes of an error's text that are shown.
local MOST_SAID = 300

local M = {}

-- How many seconds our clock is ahead of the server's, if that is enough to be refused for it.
local function skew(res)
    local date = res.headers.date
    local theirs = type(date) == "string" and ngx.parse_http_time(date)
    local off = theirs and ngx.time() - theirs
    if off and math.abs(off) > SKEW then
        return (": this machine's clock is %d s %s"):format(math.abs(off), off > 0 and "fast" or "slow")
    end
    return ""
end

-- The response, or nil, why, and the seconds after which another try may do better.
function M.send(what, request)
    request.timeout = TIMEOUT
    request.max_body = 1024 * 1024
    local res, why = http.request(request)
    if not res then
        return nil, what .. ": " .. why, RETRY
    end
    return res
end

-- The failure that `res` is: nil, why, and the seconds if another try may do better. Of the cloud's own words, `said`,
-- the first line is shown: AWS goes on with all that was signed, a session's token included.
function M.failed(what, res, said, again)
    said = said and said:match("^[^\r\n]*"):sub(1, MOST_SAID) or ""
    local why = ("%s: answered %d%s%s"):format(what, res.status, said ~= "" and " " .. said or "", skew(res))
    if again or res.status == 429 or res.status >= 500 then
        return nil, why, tonumber(res.headers.retry_after) or RETRY
    end
    return nil, why
end

-- The words of a JSON error in any of the forms that Google, Azure and OAuth 2 (RFC 6749) use.
function M.said(res)
    local json = cjson.decode(res.body)
    if type(json) ~= "table" then
        return nil
    end
    local err = json.error
    if type(err) == "table" then
        return tostring(err.status or err.code or "") .. " " .. tostring(err.message or "")
    end
    return err and tostring(err) .. " " .. tostring(json.error_description or "") or nil
end

-- Access tokens of this worker by name, until a minute before they end. Workers do not share them: that would put them
-- into shared memory.
local tokens = {}

-- The token called `name`, asked for by `ask()` -> response | nil, why, after if there is none.
function M.token(name, what, ask)
    local kept = tokens[name]
    if kept and kept.until_ > ngx.time() then
        return kept.token
    end
    local res, why, after = ask()
    if not res then
        return nil, why, after
    end
    if res.status ~= 200 then
        return M.failed(what, res, M.said(res))
    end
    local json = cjson.decode(res.body)
    local life = type(json) == "table" and tonumber(json.expires_in)
    if not life or type(json.access_token) ~= "string" then
        return nil, what .. ": answered 200 without a token"
    end
    tokens[name] = { token = json.access_token, until_ = ngx.time() + life - 60 }
    return json.access_token
end

-- Sends `request` with the token that `get()` gives; a token that is refused is asked for once more.
function M.with_token(name, what, get, request)
    for try = 1, 2 do
        local token, why, after = get()
        if not token then
            return nil, why, after
        end
        request.headers = request.headers or {}
        request.headers.Authorization = "Bearer " .. token
        local res
        res, why, after = M.send(what, request)
        if not res then
            return nil, why, after
        end
        if res.status ~= 401 or try == 2 then
            return res
        end
        tokens[name] = nil
    end
end

return M
