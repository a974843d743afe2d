#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# launch/local.sh RECIPE [options of ssl-jax pretrain]: a run on this machine that outlives the terminal.
set -eu
[ $# -ge 1 ] || { echo "usage: launch/local.sh RECIPE [options of ssl-jax pretrain]" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
make -s -C "$root" env
mkdir -p runs
log=runs/$(basename "$1" | sed 's/\.py//; s/:/-/').log
nohup "$root/.venv/bin/ssl-jax" pretrain "$@" >>"$log" 2>&1 </dev/null &
echo "process $!; tail -f $log shows it, kill $! saves and stops it, the same command resumes it"
