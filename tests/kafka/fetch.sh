#!/bin/sh
# Gives a Kafka for the tests: its jars from Maven Central (40 MB), fetched once into the user's cache folder. Each is
# compared with SHA256SUMS, every time. Prints the folder.
set -eu

version=4.0.0 # as in pom.xml
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/websocket-manager
jars=$cache/kafka-$version

say() { echo "kafka: $*" >&2; }
is_whole() { [ -d "$1" ] && (cd "$1" && sha256sum --check --strict --status "$here/SHA256SUMS" 2>/dev/null); }

need() { # program, package
    if ! command -v "$1" >/dev/null; then
        say "$1 is needed to $2"
        exit 1
    fi
}

need java "run Kafka $version, 17 or newer: apt-get install default-jre-headless"
major=$(java -version 2>&1 | sed -En 's/.* version "([0-9]+).*/\1/p' | head -n 1)
if [ "${major:-0}" -lt 17 ]; then
    say "Kafka $version needs Java 17 or newer; this one is ${major:-unknown}: apt-get install openjdk-17-jre-headless"
    exit 1
fi
if ! is_whole "$jars"; then
    need mvn "fetch Kafka $version from Maven Central: apt-get install maven"
    say "fetching Kafka $version into $jars; 40 MB, once"
    mkdir -p "$cache"
    new=$jars.$$
    trap 'rm -rf "$new"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir "$new"
    cp "$here/pom.xml" "$new/pom.xml"
    if ! mvn --quiet --batch-mode --file "$new/pom.xml" dependency:copy-dependencies -DoutputDirectory="$new/jars" >&2; then
        say "Maven could not fetch it: it needs Maven Central, or a mirror of it in ~/.m2/settings.xml"
        exit 1
    fi
    if ! is_whole "$new/jars"; then
        say "what Maven fetched is not what $here/SHA256SUMS names"
        exit 1
    fi
    rm -rf "$jars"
    mv "$new/jars" "$jars"
fi
echo "$jars"
