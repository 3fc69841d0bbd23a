-- What ngx.run_worker_thread runs for t/run/cancel.t.
local ffi = require "ffi"
ffi.cdef "int usleep(unsigned int);"

return {
    rest = function(seconds)
        ffi.C.usleep(seconds * 1e6)
        return "rested"
    end,
}
