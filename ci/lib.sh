# shellcheck shell=bash
# What every command in ci/ shares: where the project lies, how it speaks, and
# which nginx it builds for. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build
MODULE=ngx_http_autoscale_lua_module
# sbin holds nginx on Debian and is not on every user's PATH
PATH=$PATH:/usr/sbin:/sbin
[ ! -d "${HOME:-/root}/.cargo/bin" ] || PATH=$PATH:${HOME:-/root}/.cargo/bin
export PATH

say() { printf '%s: %s\n' "$(basename "$0")" "$*"; }
die() { say "$*" >&2; exit 1; }

# Runs a command as root: directly, or through sudo when we are not.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "needs root for: $*"
    fi
}

nginx_version() { nginx -v 2>&1 | sed -n 's|.*nginx/\([0-9.]*\).*|\1|p'; }

# Leaves NGINX_SOURCE_DIR and NGINX_BUILD_DIR (what crate nginx-sys reads)
# pointing at a configured tree of the very nginx that is installed. A tree
# chosen by the caller wins. Debian's nginx-dev brings sources, but no objs, and
# its directory is not ours to write to: a copy is configured, once a version.
nginx_tree() {
    if [ -n "${NGINX_BUILD_DIR:-}" ]; then
        export NGINX_BUILD_DIR NGINX_SOURCE_DIR=${NGINX_SOURCE_DIR:-$(dirname "$NGINX_BUILD_DIR")}
        return
    fi
    if [ -n "${NGINX_SOURCE_DIR:-}" ]; then
        export NGINX_SOURCE_DIR NGINX_BUILD_DIR=$NGINX_SOURCE_DIR/objs
        return
    fi
    local src=/usr/share/nginx/src version stamp tree
    [ -f $src/conf_flags ] || die "nginx-dev is not installed; run ci/setup, or set NGINX_SOURCE_DIR and NGINX_BUILD_DIR"
    version=$(nginx_version)
    [ -n "$version" ] || die "no nginx found; run ci/setup"
    stamp=$(nginx -V 2>&1; cat $src/conf_flags)
    tree=$BUILD/nginx-$version
    if [ ! -f "$tree/objs/ngx_auto_config.h" ] || [ "$(cat "$tree/objs/configured-for" 2>/dev/null)" != "$stamp" ]; then
        say "configuring a copy of nginx $version's sources in ${tree#"$ROOT"/}" >&2
        mkdir -p "$BUILD"
        rm -rf "$tree" "$tree.new"
        cp -r $src "$tree.new"
        (
            cd "$tree.new"
            NGX_CONF_FLAGS=()
            # shellcheck disable=SC1091
            . ./conf_flags
            ./configure "${NGX_CONF_FLAGS[@]}" >configure.log 2>&1
        ) || { tail -n 20 "$tree.new/configure.log" >&2; die "nginx's configure failed"; }
        printf '%s\n' "$stamp" >"$tree.new/objs/configured-for"
        mv "$tree.new" "$tree"
    fi
    export NGINX_SOURCE_DIR=$tree NGINX_BUILD_DIR=$tree/objs
}
