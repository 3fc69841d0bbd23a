-- require "ngx.upstream": the upstreams of the configuration, their servers and peers.

local error = error
local type = type

return function(_, native, base)
    local upstream_names, upstream_servers = native.upstream_names, native.upstream_servers
    local upstream_peers, set_down = native.upstream_peers, native.upstream_set_down
    local upstream_current = native.upstream_current
    local out, text = base.str, base.text
    local cur, null = base.cur, base.null
    local copy, new, sizeof, string = base.copy, base.new, base.sizeof, base.string
    local cast = base.cast
    local check = base.check
    local allowed = base.request + base.phases("init_worker", "exit_worker", "timer") + base.ssl

    local reasons = {
        [-1] = "upstream not found",
        [-2] = "no peer data",
        [-3] = "no backup peers",
        [-4] = "bad peer id",
        [-5] = "no upstreams",
    }

    -- Calls `each(numbers, offset, text)` for `count` rows of `width` numbers that lie in `out`.
    local function rows(count, width, each)
        local list = {}
        if count == 0 then
            return list
        end
        -- `out` need not be aligned for numbers
        local numbers = new("double[?]", count * width)
        local size = sizeof(numbers)
        copy(numbers, out[0].data, size)
        local texts = cast("const char *", out[0].data) + size
        for i = 1, count do
            local at = (i - 1) * width
            list[i] = each(numbers, at, function(n)
                return string(texts + numbers[at + 2 * n], numbers[at + 2 * n + 1])
            end, i)
        end
        return list
    end

    local function with_port(name, port)
        return port == 0 and name or name .. ":" .. port
    end

    local function check_name(name, f)
        if type(name) == "number" then
            return name .. ""
        end
        if type(name) ~= "string" then
            error("bad argument #1 to '" .. f .. "' (string expected, got " ..
                  (name == nil and "nil" or type(name)) .. ")", 3)
        end
        return name
    end

    local M = {}

    local function name_row(numbers, at, str)
        return with_port(str(0), numbers[at + 2])
    end

    function M.get_upstreams(...)
        check(allowed)
        if select("#", ...) ~= 0 then
            error("no argument expected", 2)
        end
        local count = upstream_names(out)
        if count < 0 then
            return nil, reasons[count]
        end
        return rows(count, 3, name_row)
    end

    local function server_row(numbers, at, str)
        local addrs = {}
        for addr in str(1):gmatch("[^\n]+") do
            addrs[#addrs + 1] = addr
        end
        local name = str(0)
        return {
            name = name ~= "" and name or nil,
            addr = #addrs == 1 and addrs[1] or addrs,
            weight = numbers[at + 4],
            max_conns = numbers[at + 5] ~= 0 and numbers[at + 5] or nil,
            max_fails = numbers[at + 6],
            fail_timeout = numbers[at + 7],
            backup = numbers[at + 8] ~= 0 or nil,
            down = numbers[at + 9] ~= 0 or nil,
        }
    end

    function M.get_servers(...)
        check(allowed)
        if select("#", ...) ~= 1 then
            error("exactly one argument expected", 2)
        end
        local name = check_name((...), "get_servers")
        local count = upstream_servers(name, #name, out)
        if count < 0 then
            return nil, reasons[count]
        end
        return rows(count, 10, server_row)
    end

    local function peer_row(numbers, at, str, i)
        local accessed, checked = numbers[at + 10], numbers[at + 11]
        return {
            id = i - 1,
            name = str(0),
            weight = numbers[at + 2],
            effective_weight = numbers[at + 3],
            current_weight = numbers[at + 4],
            conns = numbers[at + 5],
            max_conns = numbers[at + 6] ~= 0 and numbers[at + 6] or nil,
            fails = numbers[at + 7],
            max_fails = numbers[at + 8],
            fail_timeout = numbers[at + 9],
            accessed = accessed ~= 0 and accessed or nil,
            checked = checked ~= 0 and checked or nil,
            down = numbers[at + 12] ~= 0 or nil,
        }
    end

    local function peers(name, backup)
        local count = upstream_peers(name, #name, backup, out)
        if count < 0 then
            return nil, reasons[count]
        end
        return rows(count, 13, peer_row)
    end

    function M.get_primary_peers(...)
        check(allowed)
        if select("#", ...) ~= 1 then
            error("exactly one argument expected", 2)
        end
        return peers(check_name((...), "get_primary_peers"), 0)
    end

    function M.get_backup_peers(...)
        check(allowed)
        if select("#", ...) ~= 1 then
            error("exactly one argument expected", 2)
        end
        return peers(check_name((...), "get_backup_peers"), 1)
    end

    function M.set_peer_down(...)
        check(allowed)
        if select("#", ...) ~= 4 then
            error("exactly 4 arguments expected", 2)
        end
        local name, backup, id, down = ...
        name = check_name(name, "set_peer_down")
        id = base.to_number(id, 3, "set_peer_down")
        local rc = set_down(name, #name, backup and 1 or 0, id, down and 1 or 0)
        if rc < 0 then
            return nil, reasons[rc]
        end
        return true
    end

    function M.current_upstream_name()
        if cur.req == null then
            error("no request object found", 2)
        end
        local port = upstream_current(out)
        if port < 0 then
            return nil
        end
        return with_port(text(out), port)
    end

    package.loaded["ngx.upstream"] = M
end
