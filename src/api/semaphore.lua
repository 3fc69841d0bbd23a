-- ngx.semaphore: scripts of one worker that wait for each other, of whatever request.

return function(_, _, base)
    local classic = base.classic

    local methods = {
        count = classic.semaphore_count,
        post = classic.semaphore_post,
        wait = classic.semaphore_wait,
    }

    base.module("ngx.semaphore", {
        version = base.version,
        new = base.bind(classic.semaphore_new, { __index = methods }),
    })
end
