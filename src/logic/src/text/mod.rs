//! Text formats: what Lua scripts escape, encode, parse and print.
