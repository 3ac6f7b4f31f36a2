#!/bin/sh
# Installs the Debian packages that Corral needs, where they are missing.
#
# usage: tools/bootstrap.sh build|test
#   build  what compiling needs
#   test   that, and what the tests need besides (clang for fuzzing and checks, Python for clients)
#
# Does nothing, and needs no privileges, when all is there. Runs apt-get as root, or through sudo.
set -eu

build_packages="gcc libc6-dev make cmake ninja-build pkg-config libjansson-dev libpcre2-dev libutf8proc-dev libevent-dev
libssl-dev libnghttp2-dev libwslay-dev zlib1g-dev libzstd-dev libcurl4-openssl-dev libsqlite3-dev libedit-dev libcmocka-dev"
test_packages="$build_packages g++ ccache clang libclang-rt-14-dev clang-format clang-tidy openssl python3 python3-venv nginx-light"

case "${1:-}" in
build) packages=$build_packages ;;
test) packages=$test_packages ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
say() { echo "bootstrap: $*"; }

# Without dpkg, or with tools installed by other means: is everything usable as it is?
usable() {
    for tool in cc cmake ninja pkg-config; do command -v $tool >/dev/null || return 1; done
    pkg-config --exists jansson libpcre2-8 libutf8proc libevent_core libevent_pthreads libevent_openssl openssl libnghttp2 zlib \
        libzstd libcurl sqlite3 libedit || return 1
    echo '#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <wslay/wslay.h>
int main(void) { return 0; }' | cc -x c - -lcmocka -lwslay -o /dev/null 2>/dev/null || return 1
    [ "$1" = build ] && return 0
    for tool in g++ ccache clang clang-format clang-tidy; do command -v $tool >/dev/null || return 1; done
    echo 'int LLVMFuzzerTestOneInput(const unsigned char *p, unsigned long n) { return !p && n; }' |
        clang -x c - -fsanitize=fuzzer,address -o /dev/null 2>/dev/null || return 1
    python3 -c 'import venv, ensurepip' 2>/dev/null
}

missing=
if command -v dpkg-query >/dev/null; then
    for p in $packages; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
    done
    [ -z "$missing" ] && exit 0
fi
usable "$1" && exit 0

if ! command -v apt-get >/dev/null; then
    say "this is no Debian (there is no apt-get). Please install what corresponds to:" $packages >&2
    exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        say "these packages are missing, and there is no sudo to install them:$missing" >&2
        say "as root: apt-get install -y$missing" >&2
        exit 1
    fi
    as_root="sudo"
fi
apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"; }
say "installing Debian packages:$missing"
apt update -qq || say "apt-get update failed; trying with the package lists at hand" >&2
if ! apt install -y -qq --no-install-recommends $missing; then
    say "apt-get could not install:$missing" >&2
    say "check the network and /etc/apt/sources.list, then run make again" >&2
    exit 1
fi
