//! Passes what `nginx-sys` found out about the nginx being built for on to the code, as `cfg` values.

use std::env;
use std::path::PathBuf;

/// nginx versions at which a structure or behaviour that we touch changed, and the `cfg` that says so.
const VERSIONS: &[(u64, &str)] = &[
    // repeated headers became linked lists (`ngx_table_elt_t.next`)
    (1_023_000, "nginx_multi_headers"),
    // it has a function of its own for the first message of a TLS client
    (1_029_002, "nginx_client_hello"),
    // upstreams keep connections unless they say otherwise
    (1_029_007, "nginx_keeps_by_default"),
];

/// Binds a request's bit fields for [`ngx::bits`]: bindgen before 0.73, which `nginx-sys` is made with, places those that
/// follow a smaller field wrongly (its issue 3384), as they do since nginx 1.29.3.
fn bind_request_bits() {
    let include = env::var("DEP_NGINX_INCLUDE").expect("nginx-sys says where nginx's headers are");
    let flags = env::var("DEP_NGINX_CFLAGS").unwrap_or_default();
    let includes = env::split_paths(&include).map(|path| format!("-I{}", path.display()));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("request_bits.rs");
    bindgen::Builder::default()
        .header_contents(
            "request_bits.h",
            "#include <ngx_config.h>\n#include <ngx_core.h>\n#include <ngx_http.h>\n",
        )
        .clang_args(includes)
        .clang_args(flags.split_whitespace())
        .allowlist_type("ngx_http_request_s")
        .allowlist_recursively(false)
        .use_core()
        .generate()
        .expect("nginx's headers can be read")
        .write_to_file(out)
        .expect("OUT_DIR can be written");
}

fn main() {
    // nginx unloads modules while its exiting worker's threads may still run what they have to tidy up, which is code of ours (the
    // allocator's, for one): the library stays where it is until the process ends
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
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
    // lists of peers change while names are resolved, and peers are counted by who refers to them
    println!("cargo::rustc-check-cfg=cfg(nginx_resolving_peers)");
    let has_zones = features.split(',').any(|f| f.trim() == "http_upstream_zone");
    if version.is_some_and(|v| v >= 1_027_003) && has_zones {
        println!("cargo::rustc-cfg=nginx_resolving_peers");
    }
    // peers have names that clients are sent back to; with `compat` nginx declares them in any case
    println!("cargo::rustc-check-cfg=cfg(upstream_sid)");
    if version.is_some_and(|v| v >= 1_029_006) && features.split(',').any(|f| f.trim() == "compat") {
        println!("cargo::rustc-cfg=upstream_sid");
    }
    bind_request_bits();
}
