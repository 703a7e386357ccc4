#!/bin/sh
# Install the programs that the tests need besides Python packages: as root on Debian.
# Elsewhere name the missing ones and go on; their tests are skipped then, and fail when CI=true.

PATH="$PATH:/usr/local/sbin:/usr/sbin"
missing=""

have() {
    command -v "$1" >/dev/null 2>&1
}

have mariadbd && have mariadb-install-db || missing="$missing mariadb-server-core mariadb-client-core"
have chromium || have chromium-browser || have google-chrome || missing="$missing chromium"
have nginx || missing="$missing nginx-light"
have ip || missing="$missing iproute2"
have redis-server || missing="$missing redis-server"
ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || missing="$missing faketime"
have fc-list && [ -n "$(fc-list :lang=ko)" ] || missing="$missing fontconfig fonts-noto-cjk"

if [ -z "$missing" ]; then
    exit 0
elif [ "$(id -u)" != 0 ] || ! have apt-get; then
    echo "the tests want these too (names of Debian's packages):$missing" >&2
    exit 0
fi

echo "installing for the tests:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# No service is started: the tests start their own.
export RUNLEVEL=1
# shellcheck disable=SC2086 # a list of names
if ! { apt-get update -qq && apt-get install -qq --yes --no-install-recommends $missing; } >/dev/null; then
    echo "apt-get could not install all of:$missing" >&2
fi
