#!/bin/bash
# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#
# docker/build.sh [OUT [BUILD]]: builds walign's Debian package from the sources around it and puts it into OUT (/out),
# with the script that the image's last stage installs it by. BUILD: a build folder that is built already, whose program
# is packaged instead. The image's first stage; runs without Docker too.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-/out}")
build=${2:-}

if [ -z "$build" ]; then
  tools/install-deps --build
  cmake --preset package
  cmake --build --preset package
  build=build/package
fi
mkdir -p "$out"
rm -f "$out"/walign_*.deb
cpack --config "$build/CPackConfig.cmake" -G DEB -B "$out/cpack"
mv "$out"/cpack/walign_*.deb "$out"
rm -r "$out/cpack"
cp docker/install.sh "$out"
