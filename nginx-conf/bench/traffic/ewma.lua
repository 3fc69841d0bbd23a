-- A balancer as users write them: the mean time of each peer's answers, decaying over ten seconds, shared by the
-- workers; of two peers drawn at random the faster one. Requests under way count for nothing, as is usual.
local balancer = require "ngx.balancer"
local ewma = ngx.shared.ewma
local exp, max, random = math.exp, math.max, math.random
local DECAY = 10

local _M = {}

-- The decayed mean as of now; a peer that was not asked for long is tried again.
local function score(name)
    local mean = ewma:get(name)
    if not mean then return 0 end
    return mean * exp(-max(0, ngx.now() - (ewma:get(name .. ":at") or 0)) / DECAY)
end

local function name_of(peer)
    return peer.host .. ":" .. peer.port
end

function _M.choose(peers)
    local ctx = ngx.ctx
    local tried = ctx.tried
    if not tried then
        tried = {}
        ctx.tried = tried
        balancer.set_more_tries(1)
    end
    local best, best_score
    for _ = 1, 2 do
        local peer
        -- never one that failed this request
        repeat peer = peers[random(#peers)] until not tried[peer] and peer ~= best
        local found = score(name_of(peer))
        if not best or found < best_score then
            best, best_score = peer, found
        end
    end
    tried[best] = true
    local ok, err = balancer.set_current_peer(best.host, best.port)
    if not ok then ngx.log(ngx.ERR, "no peer: ", err) end
end

function _M.learn()
    local var = ngx.var
    local name = (var.upstream_addr or ""):match("[^, ]+$")
    local took = tonumber((var.upstream_response_time or ""):match("[%d.]+$"))
    if not name or not took then return end
    local now = ngx.now()
    local mean, at = ewma:get(name), ewma:get(name .. ":at")
    local weight = mean and exp(-max(0, now - (at or now)) / DECAY) or 0
    ewma:set(name, (mean or 0) * weight + took * (1 - weight))
    ewma:set(name .. ":at", now)
end

return _M
