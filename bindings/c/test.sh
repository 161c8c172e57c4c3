#!/usr/bin/env bash
# Installs the library, moves the installed folder, and builds the programs of `tests/` against it by pkg-config and
# by CMake. Arguments go to cargo build.
set -euo pipefail
cd "$(dirname "$0")"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
./install.sh "$folder/installed" "$@"
prefix=$folder/moved
mv "$folder/installed" "$prefix"
tests=$PWD/tests
network=$PWD/../../tests/dialects/interleaved-B-k1-script-free.onnx

# Checks that a program is linked to the library that its name states, and gives the scores of the first one.
check() {
    local linked=static
    case $(ldd "$1") in *"$prefix/lib/libdyrelu.so"*) linked=shared ;; esac
    case $1 in
    *"$linked") ;;
    *) echo "$(basename "$1") is linked to the $linked library" >&2 && exit 1 ;;
    esac
    "$1" "$network" "$1.scores"
    if [ ! -e "$folder/scores" ]; then cp "$1.scores" "$folder/scores"; fi
    cmp "$folder/scores" "$1.scores"
    echo "$(basename "$1"): passed"
}

if command -v pkg-config >/dev/null; then
    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    cc "$tests/program.c" $(pkg-config --cflags --libs dyrelu) "-Wl,-rpath,$prefix/lib" -lpthread -o "$folder/shared"
    cc "$tests/program.c" $(pkg-config --cflags --libs dyrelu-static) -o "$folder/static"
    check "$folder/shared"
    check "$folder/static"
else
    echo "skipped: there is no pkg-config"
fi

if command -v cmake >/dev/null; then
    cat >"$folder/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.10)
project(programs C CXX)
find_package(dyrelu 0.1 REQUIRED)
find_package(Threads REQUIRED)
add_executable(cmake-shared "$tests/program.c")
target_link_libraries(cmake-shared dyrelu::dyrelu Threads::Threads)
add_executable(cmake-static "$tests/program.c")
target_link_libraries(cmake-static dyrelu::static)
add_executable(cmake-cpp "$tests/program.cpp")
target_link_libraries(cmake-cpp dyrelu::dyrelu Threads::Threads)
END
    cmake -S "$folder" -B "$folder" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
    cmake --build "$folder" >/dev/null
    check "$folder/cmake-shared"
    check "$folder/cmake-static"
    "$folder/cmake-cpp" "$network"
else
    echo "skipped: there is no CMake"
fi
