//! balancer_by_lua: chooses the upstream peer.
