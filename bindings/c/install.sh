#!/usr/bin/env bash
# Builds dyrelu for C and C++ and installs it: libraries, header, and files for pkg-config and CMake.
#
#     bindings/c/install.sh PREFIX [ARGUMENTS OF CARGO BUILD]
set -euo pipefail

case ${1:-} in
"" | -*)
    sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
mkdir -p "$1"
prefix=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")"

cargo build --release --locked -p dyrelu-c "$@"
built=${CARGO_TARGET_DIR:-../../target}/release
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
case $(uname -s) in
Darwin) shared=dylib system="-framework CoreFoundation -lSystem" ;;
*) shared=so system="-lpthread -ldl -lm -lgcc_s" ;;
esac

mkdir -p "$prefix/include" "$prefix/lib/pkgconfig" "$prefix/lib/cmake/dyrelu"
install -m 644 include/dyrelu.h "$prefix/include/"
install -m 644 "$built/libdyrelu_c.a" "$prefix/lib/libdyrelu.a"
install -m 755 "$built/libdyrelu_c.$shared" "$prefix/lib/libdyrelu.$shared"

# Both find their folder by their own place, so that the prefix can be moved.
cat >"$prefix/lib/pkgconfig/dyrelu.pc" <<END
prefix=\${pcfiledir}/../..
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: dyrelu
Description: CPU inference for convolutional networks with dynamic ReLU
Version: $version
Cflags: -I\${includedir}
Libs: -L\${libdir} -ldyrelu
Libs.private: $system
END
# A linker that finds both libraries takes the shared one, also with `pkg-config --static`.
cat >"$prefix/lib/pkgconfig/dyrelu-static.pc" <<END
prefix=\${pcfiledir}/../..
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: dyrelu-static
Description: CPU inference for convolutional networks with dynamic ReLU, as a static library
Version: $version
Cflags: -I\${includedir}
Libs: \${libdir}/libdyrelu.a $system
END
cat >"$prefix/lib/cmake/dyrelu/dyrelu-config.cmake" <<END
# The targets dyrelu::dyrelu, the shared library, and dyrelu::static.
get_filename_component(dyrelu_prefix "\${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET dyrelu::dyrelu)
  add_library(dyrelu::dyrelu SHARED IMPORTED)
  set_target_properties(dyrelu::dyrelu PROPERTIES
    IMPORTED_LOCATION "\${dyrelu_prefix}/lib/libdyrelu.$shared"
    IMPORTED_NO_SONAME TRUE
    INTERFACE_INCLUDE_DIRECTORIES "\${dyrelu_prefix}/include")
  add_library(dyrelu::static STATIC IMPORTED)
  set_target_properties(dyrelu::static PROPERTIES
    IMPORTED_LOCATION "\${dyrelu_prefix}/lib/libdyrelu.a"
    INTERFACE_INCLUDE_DIRECTORIES "\${dyrelu_prefix}/include"
    INTERFACE_LINK_LIBRARIES "$system")
endif()
END
cat >"$prefix/lib/cmake/dyrelu/dyrelu-config-version.cmake" <<END
set(PACKAGE_VERSION "$version")
if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
END
echo "dyrelu $version is in $prefix"
