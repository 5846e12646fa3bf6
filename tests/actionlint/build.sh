#!/bin/sh
# Builds the pinned actionlint, once for each content, into the user's cache folder, and prints its path.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
content=$(cat go.mod go.sum build.sh | cksum | tr ' ' -)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/websocket-manager
built=$cache/actionlint-$content

if [ ! -x "$built" ]; then
    if ! command -v go >/dev/null; then
        echo "actionlint: Go 1.23 or newer is needed, and there is no go on PATH: see https://go.dev/doc/install" >&2
        exit 1
    fi
    echo "actionlint: building $built" >&2
    mkdir -p "$cache"
    new=$built.$$
    trap 'rm -f "$new"' EXIT
    trap 'exit 1' HUP INT TERM
    CGO_ENABLED=0 GOTOOLCHAIN=local go build -ldflags "-s -w" -o "$new" github.com/rhysd/actionlint/cmd/actionlint
    mv "$new" "$built" # whole or not at all
fi
echo "$built"
