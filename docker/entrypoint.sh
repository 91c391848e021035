#!/bin/sh
# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#
# walign with the arguments given; the configuration is /etc/walign/walign.yaml unless WALIGN_CONFIG says another.
# exec, so that SIGTERM from the container's runtime reaches walign, which then stops cleanly. `healthcheck`: whether
# the sidecar answers.
: "${WALIGN_CONFIG:=/etc/walign/walign.yaml}"
export WALIGN_CONFIG
if [ "${1:-}" = healthcheck ]; then
  "${WALIGN:-walign}" status --json | grep -q '"running": true'
  exit
fi
exec "${WALIGN:-walign}" "$@"
