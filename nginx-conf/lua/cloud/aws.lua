-- The desired capacity of an Auto Scaling group: SetDesiredCapacity of the EC2 Auto Scaling API, version 2011-01-01.
--
-- The number is absolute, so that a repetition changes nothing. HonorCooldown stays off: the policy has cooldowns of
-- its own.

local call = require "cloud.call"
local file = require("cloud.order").file
local sigv4 = require "cloud.sigv4"

local M = {}

-- Refusals with status 400 that another try may be spared.
local PASSING = {
    ScalingActivityInProgress = true, Throttling = true, ThrottlingException = true, RequestLimitExceeded = true,
}

-- A profile of a shared credentials file (~/.aws/credentials), read now.
local function from_file(path, profile)
    local text, why = file(path)
    if not text then
        return nil, why
    end
    local section, found = nil, {}
    for line in text:gmatch("[^\r\n]+") do
        section = line:match("^%s*%[%s*(.-)%s*%]") or section
        local name, value = line:match("^%s*([%w_]+)%s*=%s*(.-)%s*$")
        if name and section == profile then
            found[name] = value
        end
    end
    if not found.aws_access_key_id or not found.aws_secret_access_key then
        return nil, ("%s: no aws_access_key_id and aws_secret_access_key in [%s]"):format(path, profile)
    end
    return { id = found.aws_access_key_id, secret = found.aws_secret_access_key, token = found.aws_session_token }
end

local function credentials(options)
    if options.credentials_file then
        return from_file(options.credentials_file, options.profile or "default")
    end
    local id, secret = os.getenv "AWS_ACCESS_KEY_ID", os.getenv "AWS_SECRET_ACCESS_KEY"
    if not id or not secret then
        return nil, "no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: name them in env, or give credentials_file"
    end
    return { id = id, secret = secret, token = os.getenv "AWS_SESSION_TOKEN" }
end

-- Sets the capacity of `options` { group =, region =, credentials_file =, profile =, endpoint = } to `order.to`.
function M.resize(options, order)
    local by, why = credentials(options)
    if not by then
        return nil, why
    end
    local endpoint = options.endpoint or "https://autoscaling." .. options.region .. ".amazonaws.com"
    local body = sigv4.query {
        Action = "SetDesiredCapacity", Version = "2011-01-01", AutoScalingGroupName = options.group,
        DesiredCapacity = ("%d"):format(order.to), HonorCooldown = "false",
    }
    local request = {
        method = "POST", path = "/", body = body,
        headers = {
            Host = endpoint:match("^%w+://([^/]+)"),
            ["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8",
            ["X-Amz-Date"] = os.date("!%Y%m%dT%H%M%SZ", ngx.time()),
            ["X-Amz-Security-Token"] = by.token,
        },
    }
    local headers = request.headers
    headers.Authorization = sigv4.authorization(request, by, options.region, "autoscaling")
    local what, res, after = "AWS"
    res, why, after = call.send(what, { method = "POST", url = endpoint .. "/", headers = headers, body = body })
    if not res then
        return nil, why, after
    end
    if res.status == 200 then
        return true
    end
    local code, message = res.body:match("<Code>(.-)</Code>"), res.body:match("<Message>(.-)</Message>")
    return call.failed(what, res, code and code .. " " .. (message or ""), PASSING[code or ""])
end

return M
