-- In which phases OpenResty documents each API to work: the "context" lines of lua-nginx-module 0.10.23's README,
-- turned round. server_rewrite and precontent, which those lines leave out, count as rewrite. The matrix may allow
-- more.

local REWRITE = "server_rewrite rewrite access precontent content "
local FILTERS = "header_filter body_filter "
local REQUEST = "set " .. REWRITE .. FILTERS .. "log balancer "

local groups = {
    { "timer init init_worker exit_worker " .. REQUEST, "print ngx.log ngx.get_phase ngx.escape_uri ngx.unescape_uri" },
    { "timer init_worker exit_worker " .. REQUEST, [[
        ngx.ctx ngx.today ngx.time ngx.now ngx.update_time ngx.localtime ngx.utctime ngx.cookie_time ngx.http_time
        ngx.parse_http_time ngx.re.match ngx.re.find ngx.re.gmatch ngx.re.sub ngx.re.gsub]] },
    { "timer init init_worker exit_worker set " .. REWRITE .. FILTERS .. "log", [[
        ngx.config.subsystem ngx.config.debug ngx.config.prefix ngx.config.nginx_version ngx.worker.exiting
        ngx.worker.pid ngx.worker.count]] },
    { "timer init set " .. REWRITE .. FILTERS .. "log", "ngx.config.nginx_configure ngx.config.ngx_lua_version" },
    { "timer init_worker exit_worker set " .. REWRITE .. FILTERS .. "log", "ngx.worker.id" },
    { "timer exit_worker set " .. REWRITE .. FILTERS .. "log", "ngx.worker.pids" },
    { "timer init " .. REQUEST, [[
        ngx.shared.DICT.get ngx.shared.DICT.set ngx.shared.DICT.safe_set ngx.shared.DICT.add ngx.shared.DICT.safe_add
        ngx.shared.DICT.replace ngx.shared.DICT.delete ngx.shared.DICT.incr ngx.shared.DICT.lpush ngx.shared.DICT.rpush
        ngx.shared.DICT.lpop ngx.shared.DICT.rpop ngx.shared.DICT.llen ngx.shared.DICT.ttl ngx.shared.DICT.expire
        ngx.shared.DICT.flush_all ngx.shared.DICT.flush_expired ngx.shared.DICT.get_keys ngx.shared.DICT.capacity
        ngx.shared.DICT.free_space]] },
    { REQUEST, [[
        ngx.var ngx.resp.get_headers ngx.req.get_method ngx.req.get_uri_args]] },
    { "timer " .. REQUEST, [[
        ngx.shared.DICT.get_stale ngx.encode_args ngx.decode_args ngx.encode_base64 ngx.decode_base64
        ngx.crc32_short ngx.crc32_long ngx.hmac_sha1 ngx.md5
        ngx.md5_bin ngx.sha1_bin ngx.quote_sql_str]] },
    { "set " .. REWRITE .. FILTERS .. "log", [[
        ngx.status ngx.is_subrequest ngx.req.is_internal ngx.req.start_time ngx.req.get_headers]] },
    { REWRITE .. FILTERS .. "log", "ngx.header ngx.req.get_post_args" },
    { "set " .. REWRITE .. "header_filter", "ngx.req.http_version ngx.req.raw_header ngx.req.set_method" },
    { "set " .. REWRITE .. FILTERS, "ngx.req.set_uri ngx.req.set_uri_args ngx.req.set_header ngx.req.clear_header" },
    { "set " .. REWRITE, "ngx.headers_sent ngx.req.init_body ngx.req.append_body ngx.req.finish_body" },
    { REWRITE .. "log", "ngx.req.get_body_data" },
    { REWRITE, [[
        ngx.req.read_body ngx.req.discard_body ngx.req.get_body_file ngx.req.set_body_data ngx.req.set_body_file
        ngx.exec ngx.redirect ngx.send_headers ngx.print ngx.say ngx.flush ngx.eof]] },
    { "timer " .. REWRITE, [[
        ngx.sleep ngx.thread.spawn ngx.thread.wait ngx.thread.kill ngx.socket.tcp ngx.socket.connect
        ngx.socket.udp]] },
    { "rewrite access precontent content", [[
        ngx.location.capture ngx.location.capture_multi ngx.req.socket ngx.on_abort ngx.run_worker_thread]] },
    { "timer init_worker " .. REQUEST, "ngx.timer.at ngx.timer.every" },
    { "timer init_worker exit_worker " .. REQUEST, "ngx.timer.running_count ngx.timer.pending_count" },
    { "timer " .. REWRITE .. "header_filter balancer", "ngx.exit" },
    { "set body_filter", "ngx.arg" },
    { "timer init " .. REWRITE .. FILTERS, [[
        coroutine.create coroutine.resume coroutine.yield coroutine.wrap coroutine.running coroutine.status]] },
    { "balancer", [[
        ngx.balancer.set_current_peer ngx.balancer.set_more_tries ngx.balancer.get_last_failure
        ngx.balancer.set_timeouts ngx.balancer.recreate_request ngx.balancer.enable_keepalive
        ngx.balancer.bind_to_local_addr ngx.balancer.set_upstream_tls]] },
}

-- NAME -> list of phases
local documented = {}
for _, group in ipairs(groups) do
    for name in group[2]:gmatch("%S+") do
        assert(not documented[name], name)
        documented[name] = {}
        for phase in group[1]:gmatch("%S+") do
            table.insert(documented[name], phase)
        end
    end
end

return documented
