#!/bin/sh
# Builds the peers in Go and JavaScript, once for each content, into the user's cache folder, and prints that folder.
# The peers in Python need nothing but the development requirements.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
sources="go/go.mod go/go.sum go/peer/peer.go go/gorilla/main.go go/coder/main.go
    node/package.json node/package-lock.json node/peer.js build.sh"

fail() {
    echo "peers: $*" >&2
    exit 1
}

need() { # the program, the oldest version that will do, what it says of itself, where it is to be had
    found=$(printf '%s' "$3" | sed -En 's/^(go|v)([0-9]+(\.[0-9]+)?).*/\2/p')
    [ -n "$found" ] || fail "$1 $2 or newer is needed, and there is no $1 on PATH: see $4"
    awk -v found="$found" -v least="$2" 'BEGIN {
        split(found, f, "."); split(least, l, ".")
        exit !(f[1] > l[1] || f[1] == l[1] && f[2] + 0 >= l[2] + 0)
    }' || fail "$1 $2 or newer is needed; this one is $found: see $4"
}

cd "$here"
# shellcheck disable=SC2086
content=$(cat $sources | cksum | tr ' ' -)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/websocket-manager
built=$cache/peers-$content

need node 18 "$(node --version 2>/dev/null || true)" https://nodejs.org
if [ ! -d "$built" ]; then
    need go 1.23 "$(cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)" https://go.dev/doc/install
    command -v npm >/dev/null || fail "npm is needed, and there is none on PATH: it comes with https://nodejs.org"
    echo "peers: building into $built" >&2
    new=$built.$$
    trap 'rm -rf "$new"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -p "$new"
    CGO_ENABLED=0 GOTOOLCHAIN=local go build -C go -ldflags "-s -w" -o "$new/" ./gorilla ./coder
    cp node/package.json node/package-lock.json node/peer.js "$new/"
    npm ci --prefix "$new" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
    [ -d "$built" ] || mv "$new" "$built" # whole or not at all
fi
echo "$built"
