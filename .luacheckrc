-- Lua of this project runs inside nginx, on LuaJIT.
std = "luajit+nginx"
stds.nginx = {
    globals = {
        "ngx",
        coroutine = { other_fields = true, fields = { resume = { read_only = false }, wrap = { read_only = false } } },
        os = { other_fields = true, fields = { getenv = { read_only = false } } },
    },
    read_globals = {
        "ndk",
        table = { fields = { "new", "clear", "nkeys", "clone", "isempty", "isarray" } },
    },
}
max_line_length = 120
-- A prelude file's function takes (ngx, native, base) whether it needs all or
-- not, and an API's function all its documented arguments.
unused_args = false
-- `ngx` as such an argument hides the global of that name on purpose.
ignore = { "431/ngx", "432/ngx" }
