//! Passes what `nginx-sys` found out about the nginx being built for on to the code, as `cfg` values.

use std::env;

/// nginx versions at which a structure or behaviour that we touch changed, and the `cfg` that says so.
const VERSIONS: &[(u64, &str)] = &[
    // repeated headers became linked lists (`ngx_table_elt_t.next`)
    (1_023_000, "nginx_multi_headers"),
];

fn main() {
    for name in ["FEATURES", "FEATURES_CHECK", "VERSION_NUMBER"] {
        println!("cargo::rerun-if-env-changed=DEP_NGINX_{name}");
    }
    let known = env::var("DEP_NGINX_FEATURES_CHECK").unwrap_or_else(|_| "any()".into());
    println!("cargo::rustc-check-cfg=cfg(ngx_feature, values({known}))");
    for feature in env::var("DEP_NGINX_FEATURES").unwrap_or_default().split(',').map(str::trim) {
        if !feature.is_empty() {
            println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
        }
    }
    // nginx declares the TLS fields of upstreams for either
    let features = env::var("DEP_NGINX_FEATURES").unwrap_or_default();
    println!("cargo::rustc-check-cfg=cfg(upstream_tls)");
    if features.split(',').any(|f| matches!(f.trim(), "http_ssl" | "compat")) {
        println!("cargo::rustc-cfg=upstream_tls");
    }
    let version = env::var("DEP_NGINX_VERSION_NUMBER").ok().and_then(|v| v.parse::<u64>().ok());
    for (since, cfg) in VERSIONS {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        if version.is_some_and(|v| v >= *since) {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
}
