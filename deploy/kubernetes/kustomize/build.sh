#!/bin/sh
# Gives kustomize: the pinned one, built once into the user's cache folder. kubectl brings its own, for use on a cluster.
#   build.sh          make sure that there is one
#   build.sh --path   print its path; fails when there is none
set -eu

version=5.8.1
here=$(cd "$(dirname "$0")" && pwd)
built=${XDG_CACHE_HOME:-$HOME/.cache}/websocket-manager/kustomize-$version/kustomize

say() { echo "kustomize: $*" >&2; }

build() {
    if ! command -v go >/dev/null; then
        say "Go 1.21 or newer is needed to build kustomize $version, and there is no go on PATH: see https://go.dev/doc/install"
        exit 1
    fi
    say "building kustomize $version; about 20 s the first time, 23 MB"
    mkdir -p "$(dirname "$built")"
    new=$built.$$
    trap 'rm -f "$new"' EXIT
    trap 'exit 1' HUP INT TERM
    CGO_ENABLED=0 go build -C "$here" -mod=readonly -ldflags "-s -w" -o "$new" sigs.k8s.io/kustomize/kustomize/v5
    mv "$new" "$built" # whole or not at all
}

case ${1:-} in
--path)
    if [ ! -x "$built" ]; then
        say "none is built: deploy/kubernetes/kustomize/build.sh"
        exit 1
    fi
    echo "$built"
    ;;
"")
    [ -x "$built" ] || build
    say "kustomize $version is $built"
    ;;
*)
    say "usage: build.sh [--path]"
    exit 2
    ;;
esac
