# What a reload leaves of a shared dictionary. The blocks build on each other: one nginx, reloaded in between.
# modes: hup
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: values are stored
--- http_config
    lua_shared_dict kept 200k;
    lua_shared_dict resized 200k;
    lua_shared_dict renamed 200k;
--- lua
    local n = 0
    for _, name in ipairs { "kept", "resized", "renamed" } do
        local d = ngx.shared[name]
        d:set("text", "some text", 0, 7)
        d:set("short-lived", 1, 1000)
        d:rpush("list", "a")
        d:rpush("list", "b")
        n = n + #d:get_keys()
    end
    ngx.say(n)
--- response_body
9


=== TEST 2: a reload keeps them, init_by_lua finds them
--- http_config
    lua_shared_dict kept 200k;
    lua_shared_dict resized 200k;
    lua_shared_dict renamed 200k;
    init_by_lua_block {
        ngx.shared.kept:set("from init", (ngx.shared.kept:get("text")))
    }
--- lua
    for _, name in ipairs { "kept", "resized", "renamed" } do
        local d = ngx.shared[name]
        ngx.say(d:get("text"))
        ngx.say(d:ttl("short-lived") > 900, " ", d:llen("list"))
    end
    ngx.say(ngx.shared.kept:get("from init"))
--- response_body
some text7
true 2
some text7
true 2
some text7
true 2
some text
--- no_error_log
starts empty


=== TEST 3: another size starts empty and says so, another name starts empty, the rest is kept
--- http_config
    lua_shared_dict kept 200k;
    lua_shared_dict resized 300k;
    lua_shared_dict new_name 200k;
--- lua
    for _, name in ipairs { "kept", "resized", "new_name" } do
        local d = ngx.shared[name]
        ngx.say(name, " ", d:get("text"), " ", d:lpop("list"))
    end
    ngx.say(ngx.shared.renamed, " ", ngx.shared.resized:capacity())
--- response_body
kept some text a
resized nil nil
new_name nil nil
nil 307200
--- error_log
lua_shared_dict "resized": its size changed from 204800 to 307200 bytes, it starts empty


=== TEST 4: and works on
--- http_config
    lua_shared_dict kept 200k;
    lua_shared_dict resized 300k;
--- lua
    local d = ngx.shared.kept
    ngx.say(d:lpop("list"), " ", d:llen("list"), " ", d:incr("n", 1, 0))
--- response_body_like: ^b 0 1nilfalse$|^b 0 1$
