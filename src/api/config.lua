-- ngx.config: what nginx was built with, and where it stands.

-- The version of OpenResty's module whose API this is: 0.10.23.
local LUA_VERSION = 10023

return function(ngx, native, base)
    local str, text = base.str, base.text

    ngx.config = {
        subsystem = "http",
        debug = native.config_debug() == 1,
        nginx_version = native.config_version(),
        ngx_lua_version = LUA_VERSION,
        prefix = function()
            native.config_prefix(str)
            return text(str)
        end,
        nginx_configure = function()
            native.config_configure(str)
            return text(str)
        end,
    }
end
