#!/bin/sh
# Installs the Debian packages that Corral needs, where they are missing.
#
# usage: tools/bootstrap.sh build|test
#   build  what compiling needs
#   test   that, and what the tests need besides (clang for fuzzing and checks, Python for clients), and a compiler and an
#          emulator for AArch64, without which the test of its kernels says that it skips
#
# Does nothing, and needs no privileges, when all is there. Runs apt-get as root, or through sudo.
set -eu

build_packages="gcc libc6-dev make cmake ninja-build pkg-config libjansson-dev libpcre2-dev libutf8proc-dev libevent-dev
libssl-dev libnghttp2-dev libwslay-dev zlib1g-dev libzstd-dev libcurl4-openssl-dev libsqlite3-dev libedit-dev libcmocka-dev"
test_packages="$build_packages g++ ccache clang libclang-rt-14-dev clang-format clang-tidy openssl python3 python3-venv nginx-light"

optional_packages=
case "${1:-}" in
build) packages=$build_packages ;;
test)
    packages=$test_packages
    [ "$(uname -m)" = x86_64 ] && optional_packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
    ;;
*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
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

lacking() {
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || printf ' %s' "$p"
    done
}
missing=$packages
optional=
if command -v dpkg-query >/dev/null; then
    missing=$(lacking $packages)
    optional=$(lacking $optional_packages)
fi
[ -z "$missing" ] || ! usable "$1" || missing=
[ -z "$missing$optional" ] && exit 0

cannot() { # REASON...: the end, unless what is missing can be done without
    [ -n "$optional" ] && say "the test of ARM's kernels will skip, for it needs:$optional" >&2
    [ -z "$missing" ] && exit 0
    for line in "$@"; do say "$line" >&2; done
    exit 1
}
command -v apt-get >/dev/null ||
    cannot "this is no Debian (there is no apt-get). Please install what corresponds to:" "$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || cannot "these packages are missing, and there is no sudo to install them:$missing" \
        "as root: apt-get install -y$missing"
    as_root="sudo"
fi
apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"; }
say "installing Debian packages:$missing$optional"
apt update -qq || say "apt-get update failed; trying with the package lists at hand" >&2
[ -z "$missing" ] || apt install -y -qq --no-install-recommends $missing ||
    cannot "apt-get could not install:$missing" "check the network and /etc/apt/sources.list, then run make again"
missing=
[ -z "$optional" ] || apt install -y -qq --no-install-recommends $optional || cannot
