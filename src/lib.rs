//! OpenResty's Lua directives and API, and live-metric autoscaling, for stock nginx.
//!
//! The journey of a request, and where to read about each step:
//!
//! 1. `conf/`: `access_by_lua_block {…}` becomes a [`conf::Handler`] of the location, compiled before the first request
//! 2. `phase/`: nginx calls the phase's callback, which [`run::enter`]s the script
//! 3. `run/`: a coroutine (reused from a pool) is handed to the driver
//! 4. `vm/`: the coroutine runs until it returned, failed or yielded an operation
//! 5. `run/wait`: the operation is armed; whoever holds it can cancel it by dropping it. One of several steps is a
//!    future (`run/work`): so are the sockets of `socket/`, the client of `http/` and the processes of `child/`
//! 6. `ngx/event`: the operation's event fires and wakes the driver
//! 7. `run/`: the result goes back into the coroutine: step 4 again
//! 8. `phase/`: with no thread left, the outcome becomes one nginx return code
//!
//! What runs outside of requests (`run/timers`) takes the same way from step 3 to 7.
//!
//! Only `ngx/` (nginx made safe), `native/` (the boundary to Lua) and `vm/` (LuaJIT) may say `unsafe`.
#![deny(unsafe_code)]

mod api;
mod child;
mod conf;
mod http;
mod native;
mod ngx;
mod phase;
mod run;
mod scale;
mod socket;
mod talk;
mod vm;
