# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#
# What stands before the commands of a page (docs_test.py): where an operator has terminals, services and answers to
# questions, a page's script has these functions. SOURCE, TARGET: both databases; WALIGN: the program; HTTP_PORT.
# shellcheck shell=bash
set -euo pipefail
export PGOPTIONS='-c client_min_messages=warning'
sidecar=

# given MIGRATION TABLES [MORE]: walign.yaml of a page. The gates do not wait for minutes.
given() {
  name=$1
  cat >walign.yaml <<YAML
migration: $1
source: $SOURCE
target: $TARGET
state: $PWD/var/$1
http: 127.0.0.1:$HTTP_PORT
tables: $2
gates: { stable_for: 0s }
${3:-}
YAML
}
on_source() { psql -Xq -v ON_ERROR_STOP=1 "$SOURCE" "$@" >/dev/null; }
on_target() { psql -Xq -v ON_ERROR_STOP=1 "$TARGET" "$@" >/dev/null; }
on_both() { on_source "$@"; on_target "$@"; }

# until WHAT COMMAND...: waits until the command says yes.
until_() {
  local tries
  for ((tries = 0; tries < 1200; ++tries)); do
    if "${@:2}"; then return 0; fi
    if [ -n "$sidecar" ] && ! kill -0 "$sidecar" 2>/dev/null; then
      echo "docs: walign run has ended before it has $1:" >&2
      tail -n 20 run.log >&2
      return 1
    fi
    sleep 0.1
  done
  echo "docs: not after two minutes: $1" >&2
  "$WALIGN" status >&2 || true
  return 1
}
reports() { "$WALIGN" status --json 2>/dev/null | grep -Eq "$1"; }
phase_is() { until_ "reached phase $1" reports "\"phase\": \"($1)\""; }
caught_up() {
  phase_is 'streaming|cut_over'
  on_source -c "SELECT pg_logical_emit_message(true, 'docs', '')"
  until_ 'caught up' reports '"bytes": 0,'
}
# Stops the sidecar as an operator does.
stop_walign() {
  local status=0
  if [ -z "$sidecar" ]; then return 0; fi
  kill -TERM "$sidecar" 2>/dev/null || true
  wait "$sidecar" || status=$?
  sidecar=
  if [ "$status" != 130 ]; then
    echo "docs: walign run ended with $status" >&2
    tail -n 20 run.log >&2
    return 1
  fi
}
trap '[ -z "$sidecar" ] || kill -KILL "$sidecar" 2>/dev/null || true' EXIT

# `walign run` is a terminal of its own; the page goes on when it streams or copies. Questions are answered with yes, or
# the migration's name.
walign() {
  local word command=
  for word in "$@"; do
    case $word in
      -c | --config | --log-level | --log-format) ;;
      -* | *.yaml) ;;
      *) command=${command:-$word} ;;
    esac
  done
  case "$command $*" in
    run*--until*) stop_walign; "$WALIGN" "$@" ;;
    run*)
      stop_walign
      "$WALIGN" "$@" >>run.log 2>&1 &
      sidecar=$!
      until_ 'begun to stream' reports '"seconds": [0-9]'  # the lag, which is known last
      ;;
    finish* | remove*) stop_walign; "$WALIGN" "$@" <<<"$name" ;;
    cutover* | rollback*) caught_up; "$WALIGN" "$@" <<<y ;;
    *) "$WALIGN" "$@" <<<y ;;
  esac
}
