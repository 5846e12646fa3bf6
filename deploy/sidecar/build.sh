#!/bin/sh
# Gives the sidecar: a supported daprd on PATH, else the pinned one, built once into the user's cache folder.
#   build.sh          make sure that there is one
#   build.sh --path   print the path of the one to use; fails when there is none
set -eu

version=1.18.2
supported='1\.(17|18|19)\.[0-9]+.*' # of a daprd on PATH
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/websocket-manager/daprd-$version
built=$cache/daprd

say() { echo "sidecar: $*" >&2; }
version_of() { "$1" --version 2>/dev/null || true; }
is_pinned() { [ -x "$1" ] && [ "$(version_of "$1")" = "$version" ]; }

on_path() { # the path of a supported daprd on PATH, or nothing
    found=$(command -v daprd || true)
    if [ -n "$found" ] && version_of "$found" | grep -Eqx "$supported"; then echo "$found"; fi
}

need_go() {
    if ! command -v go >/dev/null; then
        say "Go 1.21 or newer is needed to build daprd $version, and there is no go on PATH: see https://go.dev/doc/install"
        say "or put a daprd of 1.17 to 1.19 on PATH."
        exit 1
    fi
    minor=$(cd / && GOTOOLCHAIN=local go env GOVERSION | sed -En 's/^go1\.([0-9]+).*/\1/p')
    if [ "${minor:-0}" -lt 21 ]; then
        say "Go 1.21 or newer is needed to build daprd $version; this one is $(go env GOVERSION): see https://go.dev/doc/install"
        exit 1
    fi
}

build() {
    need_go
    say "building daprd $version into $cache; about 6 minutes the first time, 230 MB"
    mkdir -p "$cache"
    new=$cache/daprd.$$
    trap 'rm -f "$new"' EXIT
    trap 'exit 1' HUP INT TERM
    # All components: the stable ones alone lack bindings.aws.sqs. No C compiler is needed.
    CGO_ENABLED=0 go build -C "$here" -tags allcomponents \
        -ldflags "-s -w -X github.com/dapr/dapr/pkg/buildinfo.version=$version" \
        -o "$new" github.com/dapr/dapr/cmd/daprd
    if ! is_pinned "$new"; then
        say "what was built calls itself \"$(version_of "$new")\", not $version"
        exit 1
    fi
    mv "$new" "$built" # whole or not at all
}

case ${1:-} in
--path)
    path=$(on_path)
    if [ -z "$path" ] && is_pinned "$built"; then path=$built; fi
    if [ -z "$path" ]; then
        say "there is no daprd of 1.17 to 1.19 on PATH and none is built: make sidecar"
        exit 1
    fi
    echo "$path"
    ;;
"")
    path=$(on_path)
    if [ -z "$path" ]; then
        is_pinned "$built" || build
        path=$built
    fi
    say "daprd $(version_of "$path") is $path"
    ;;
*)
    say "usage: build.sh [--path]"
    exit 2
    ;;
esac
