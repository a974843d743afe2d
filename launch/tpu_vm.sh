#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# launch/tpu_vm.sh NAME RECIPE [options of ssl-jax pretrain]: a run on a slice of Cloud TPU VMs, to its end.
# Asks for the slice as a queued resource, installs the commit of this checkout on all workers, and runs; when the
# slice was taken away or the run was stopped, begins again.
#   ZONE     of the slice, us-west4-a
#   TYPE     of the accelerator, v5litepod-16
#   VERSION  of the runtime, v2-alpha-tpuv5-lite
#   SHARE    an NFS export that all workers can mount, 10.0.0.2:/share
#   CREATE   more options of `gcloud compute tpus queued-resources create`, --spot
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: launch/tpu_vm.sh NAME RECIPE [options of ssl-jax pretrain]" >&2; exit 2; }
for setting in ZONE TYPE VERSION SHARE; do
    [ -n "${!setting:-}" ] || { echo "$0: set $setting (see the head of this file)" >&2; exit 2; }
done
name=$1
shift
cd "$(dirname "$0")/.."
mount=/mnt/ssl_jax
poll=${POLL_SECONDS:-60}

queue() { gcloud compute tpus queued-resources "$1" "$name" --zone="$ZONE" "${@:2}"; }
vm() { gcloud compute tpus tpu-vm "$1" "${@:2}" --zone="$ZONE"; }
state() { queue describe --format='value(state.state)' 2>/dev/null || true; }

wait_for_slice() {
    while :; do
        local now
        now=$(state)
        case $now in
            ACTIVE) return ;;
            FAILED | SUSPENDED) queue delete --force --quiet ;;
            "")
                echo "asking for a $TYPE"
                # shellcheck disable=SC2086  # several options
                queue create --node-id="$name" --accelerator-type="$TYPE" --runtime-version="$VERSION" ${CREATE:-}
                ;;
            *) echo "the slice is ${now,,}" ;;
        esac
        sleep "$poll"
    done
}

install() {
    local archive
    archive=$(mktemp --suffix=.tar.gz)
    git archive --format=tar.gz -o "$archive" HEAD
    vm scp "$archive" "$name:ssl_jax.tar.gz" --worker=all
    rm "$archive"
    vm ssh "$name" --worker=all --command="set -e
        sudo mkdir -p $mount
        mountpoint -q $mount || { sudo apt-get -qq install -y nfs-common; sudo mount -t nfs $SHARE $mount; }
        mkdir -p ssl_jax && tar xzf ssl_jax.tar.gz -C ssl_jax
        python3 -m pip install -q --user uv
        EXTRA=tpu PATH=\$HOME/.local/bin:\$PATH ssl_jax/launch/env.sh .venv"
}

run() { # RECIPE ...: prints the exit statuses of the workers
    local words
    words=$(printf ' %q' "$@")
    vm ssh "$name" --worker=0 --command="rm -f $mount/$name.status" >&2
    vm ssh "$name" --worker=all --command="cd ssl_jax
        export SSL_JAX_CACHE=$mount/cache
        .venv/bin/ssl-jax pretrain$words --workdir $mount/runs/$name --distributed
        echo \$? >> $mount/$name.status" >&2 || true
    vm ssh "$name" --worker=0 --command="sort -u $mount/$name.status" || true
}

while :; do
    wait_for_slice
    if install; then
        statuses=" $(run "$@" | tr '\n' ' ')"
    else
        statuses=" "
    fi
    echo "exit statuses:$statuses"
    case $statuses in
        " 0 ") break ;;
        *" 2 "*) exit 2 ;; # a mistake, or diverged: a new start would end the same
        *" 3 "*) exit 3 ;;
        *" 75 "*) continue ;;
    esac
    sleep "$poll" # until the queue knows that the slice is gone
    if [ "$(state)" = ACTIVE ]; then
        case $statuses in *" 1 "*) exit 1 ;; esac
    fi
done
queue delete --force --quiet
