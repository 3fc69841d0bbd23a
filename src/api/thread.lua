-- ngx.thread: threads of a script. Their coroutines are the driver's: what they wait for does not stop their parent.

return function(ngx, _, base)
    local classic = base.classic

    ngx.thread = {
        spawn = classic.thread_spawn,
        wait = classic.thread_wait,
        kill = classic.thread_kill,
    }
end
