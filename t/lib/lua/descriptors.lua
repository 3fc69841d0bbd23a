-- The descriptors that this worker has open, counted without a child: of one that is started to count, the
-- worker's ends of the pipe may or may not be among what it sees.
local ffi = require "ffi"
local C = ffi.C
ffi.cdef "int fcntl(int, int, ...);"

local M = {}

-- How many are open now.
function M.open()
    local n = 0
    for fd = 0, 4095 do
        if C.fcntl(fd, 1) >= 0 then n = n + 1 end    -- F_GETFD
    end
    return n
end

-- How many are open once that has been the same for 20 ms and is from `least` to `most`, if these are given.
-- After two seconds it is what it is: the caller says what it should have been.
function M.settled(least, most)
    local n, same = M.open(), 0
    for _ = 1, 400 do
        if same >= 4 and n >= (least or 0) and n <= (most or n) then break end
        ngx.sleep(0.005)
        local now = M.open()
        same = now == n and same + 1 or 0
        n = now
    end
    return n
end

-- How many more are open than there were `before`, once there are no more; what the other end has closed is
-- noticed in a while.
function M.more_than(before)
    return M.settled(0, before) - before
end

return M
