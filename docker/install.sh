#!/bin/sh
# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#
# install.sh: installs the package beside it with what it needs, and leaves nothing else behind. The image's last stage,
# from a folder that goes away; runs in any Debian 12.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# apt fetches as a user that may not read every folder.
package=$(mktemp -d)
cp "$here"/walign_*.deb "$package"
chmod 755 "$package"
apt-get -qq install -y --no-install-recommends -o Dpkg::Use-Pty=0 ca-certificates "$package"/walign_*.deb
apt-get clean
rm -rf "$package" /var/lib/apt/lists/* "$here"
walign --version
