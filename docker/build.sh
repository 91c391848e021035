#!/bin/bash
# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#
# docker/build.sh [PREFIX]: builds walign from the sources around it and installs it under PREFIX (/out), with
# the list of packages that it needs to run in PREFIX/packages. The image's build step; runs without Docker too.
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=${1:-/out}

tools/install-deps
cmake -S . -B build/image -G Ninja -DCMAKE_BUILD_TYPE=Release -DWALIGN_TESTS=OFF
cmake --build build/image --target walign
cmake --install build/image --prefix "$prefix" --strip

# The libraries by name of the package that has them, so that the last stage installs these and no compiler.
ldd "$prefix/bin/walign" | awk '$3 ~ /^\// {print $3}' | while read -r library; do
  dpkg-query -S "$(readlink -f "$library")" 2>/dev/null || dpkg-query -S "$library" 2>/dev/null ||
    dpkg-query -S "/usr$(readlink -f "$library")" | head -n 1
done | sed 's/:.*//' | sort -u >"$prefix/packages"
