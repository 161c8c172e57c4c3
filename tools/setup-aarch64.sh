#!/usr/bin/env bash
# Unpacks into FOLDER the programs that build for 64-bit ARM and run the result on this machine: Debian's rustc
# with its aarch64 standard library, a cross linker, and QEMU for other processors. Installs nothing.
#
#   tools/setup-aarch64.sh FOLDER
#   . FOLDER/env
#   cargo test --target aarch64-unknown-linux-gnu --lib
#
# $QEMU_X86_64 -cpu Nehalem runs x86 programs on a processor without AVX2. Needs Debian's apt and dpkg.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: $0 FOLDER" >&2
    exit 2
fi
for tool in apt-get apt-cache dpkg; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is missing; this script needs a Debian system" >&2
        exit 3
    fi
done
mkdir -p "$1"
folder=$(cd "$1" && pwd)
if [ -f "$folder/env" ]; then
    exit 0
fi

# A separate configuration of apt has both architectures, and does not change the lists of the system.
mkdir -p "$folder"/apt/{lists/partial,cache/archives/partial} "$folder/packages" "$folder/root"
cat >"$folder/apt/conf" <<EOF
Dir::State::Lists "$folder/apt/lists";
Dir::Cache "$folder/apt/cache";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "root";
EOF
export APT_CONFIG="$folder/apt/conf"
apt-get update -qq

# The names of two packages contain a version. They are dependencies of packages without a version.
first_dependency() {
    apt-cache depends "$1" | sed -n "s/^ *Depends: \($2\).*/\1/p" | head -n 1
}
std=$(first_dependency libstd-rust-web-dev:amd64 'libstd-rust-web-[0-9.]*')
llvm=$(first_dependency "$std:amd64" 'libllvm[0-9]*')

(
    cd "$folder/packages"
    apt-get download -qq \
        rustc-web:amd64 "$std:amd64" "$llvm:amd64" \
        libstd-rust-web-dev:amd64 libstd-rust-web-dev:arm64 \
        gcc-aarch64-linux-gnu gcc-12-aarch64-linux-gnu cpp-12-aarch64-linux-gnu \
        binutils-aarch64-linux-gnu linux-libc-dev-arm64-cross \
        libc6-arm64-cross libc6-dev-arm64-cross \
        libgcc-s1-arm64-cross libgcc-12-dev-arm64-cross \
        qemu-user-static:amd64
    for package in *.deb; do
        dpkg -x "$package" "$folder/root"
    done
)
rm -r "$folder/packages" "$folder/apt"

usr=$folder/root/usr
# The programs search for their libraries in the system's folders, so each has a wrapper.
wrap() {
    local name=$1
    shift
    cat >"$folder/$name" <<EOF
#!/bin/sh
LD_LIBRARY_PATH=$usr/lib/x86_64-linux-gnu exec $* "\$@"
EOF
    chmod +x "$folder/$name"
}
wrap rustc "$usr/bin/rustc" --sysroot "$usr"
wrap rustdoc "$usr/bin/rustdoc" --sysroot "$usr"
wrap aarch64-gcc "$usr/bin/aarch64-linux-gnu-gcc"

target=CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU
search="-Clink-arg=-B$usr/lib/gcc-cross/aarch64-linux-gnu/12 -Clink-arg=-L$usr/aarch64-linux-gnu/lib"
cat >"$folder/env" <<EOF
export RUSTC=$folder/rustc RUSTDOC=$folder/rustdoc
export ${target}_LINKER=$folder/aarch64-gcc
export CC_aarch64_unknown_linux_gnu=$folder/aarch64-gcc
export CFLAGS_aarch64_unknown_linux_gnu="--sysroot=$folder/root -isystem $usr/aarch64-linux-gnu/include"
export ${target}_RUSTFLAGS="-Clink-arg=--sysroot=$folder/root $search"
export ${target}_RUNNER="$usr/bin/qemu-aarch64-static -L $usr/aarch64-linux-gnu"
export QEMU_AARCH64="$usr/bin/qemu-aarch64-static -L $usr/aarch64-linux-gnu"
export QEMU_X86_64=$usr/bin/qemu-x86_64-static
EOF
