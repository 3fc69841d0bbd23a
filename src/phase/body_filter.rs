//! body_filter_by_lua: runs for each piece of the response body.
