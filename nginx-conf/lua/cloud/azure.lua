-- The capacity of a virtual machine scale set: PATCH of sku.capacity, Microsoft.Compute.
--
-- A token comes from Microsoft's identity platform by client credentials (RFC 6749, 4.4), or from the instance metadata
-- service of an Azure machine with a managed identity. The number is absolute, so that a repetition changes nothing.

local call = require "cloud.call"
local cjson = require "cjson.safe"
local file = require("cloud.order").file
local escape = require("cloud.sigv4").escape

local VERSION = "2024-07-01"
local MANAGEMENT = "https://management.azure.com"
local LOGIN = "https://login.microsoftonline.com"
local METADATA = "http://169.254.169.254"

local M = {}

local function by_secret(options, tenant, client, secret)
    return call.send("Azure's token", {
        method = "POST",
        url = ("%s/%s/oauth2/v2.0/token"):format(options.login or LOGIN, escape(tenant)),
        headers = { ["Content-Type"] = "application/x-www-form-urlencoded" },
        body = ("grant_type=client_credentials&client_id=%s&client_secret=%s&scope=%s"):format(
            escape(client), escape(secret), escape(MANAGEMENT .. "/.default")),
    })
end

local function by_identity(options, client)
    return call.send("Azure's token", {
        url = ("%s/metadata/identity/oauth2/token?api-version=2018-02-01&resource=%s%s"):format(
            options.metadata or METADATA, escape(MANAGEMENT .. "/"), client and "&client_id=" .. escape(client) or ""),
        headers = { Metadata = "true" },
    })
end

-- The name of the token, and the function that asks for it; or nil and why.
local function way(options)
    local client = options.client_id or os.getenv "AZURE_CLIENT_ID"
    if options.identity then
        return "azure:identity:" .. (client or ""), function() return by_identity(options, client) end
    end
    local tenant = options.tenant_id or os.getenv "AZURE_TENANT_ID"
    local secret, why
    if options.client_secret_file then
        secret, why = file(options.client_secret_file)
        if not secret then
            return nil, why
        end
    else
        secret = os.getenv "AZURE_CLIENT_SECRET"
    end
    if not tenant or not client or not secret then
        return nil, "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET are needed: name them in env, or give "
            .. "tenant_id, client_id and client_secret_file; or identity = true on a machine that has one"
    end
    return "azure:" .. tenant .. ":" .. client, function() return by_secret(options, tenant, client, secret) end
end

-- Sets the capacity of `options` { subscription =, resource_group =, scale_set =, and tenant_id =, client_id =,
-- client_secret_file = or identity = true } to `order.to`.
function M.resize(options, order)
    local name, ask = way(options)
    if not name then
        return nil, ask
    end
    local path = "/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/virtualMachineScaleSets/%s"
    local url = (options.endpoint or MANAGEMENT) .. path:format(
        escape(options.subscription), escape(options.resource_group), escape(options.scale_set))
    local get = function() return call.token(name, "Azure's token", ask) end
    local res, why, after = call.with_token(name, "Azure", get, {
        method = "PATCH", url = url .. "?api-version=" .. VERSION,
        headers = { ["Content-Type"] = "application/json" },
        body = cjson.encode { sku = { capacity = order.to } },
    })
    if not res then
        return nil, why, after
    end
    -- 202: the change is under way
    if res.status == 200 or res.status == 202 then
        return true
    end
    return call.failed("Azure", res, call.said(res))
end

return M
