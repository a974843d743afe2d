#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# launch/env.sh VENV [PYTHON]: an environment with ssl_jax (editable), its tools, and the extra for this machine's
# accelerator.  Uses uv where it is there, venv and pip otherwise.  $EXTRA overrides the choice (gpu, tpu or none).
set -eu
venv=$1
cd "$(dirname "$0")/.."

fits() { # a Python that we are tested on, and that can make environments
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
}

find_python() {
    for python in ${1:-python3.13 python3.12 python3.11 python3}; do
        if fits "$python"; then echo "$python"; return; fi
    done
    if [ -n "${1:-}" ]; then
        echo "$1 is not Python 3.11, 3.12 or 3.13 with venv and pip" >&2
    elif [ "$(uname)" = Darwin ]; then
        echo "Python 3.11, 3.12 or 3.13 is needed: brew install python@3.13" >&2
    else
        echo "Python 3.11, 3.12 or 3.13 with venv is needed: install uv (it brings Python along), or, on Debian and Ubuntu," \
            "sudo apt install python3.12 python3.12-venv" >&2
    fi
    return 1
}

find_extra() {
    if nvidia-smi -L >/dev/null 2>&1; then
        echo gpu
    elif ls /dev/accel* >/dev/null 2>&1 || { ls /dev/vfio/[0-9]* >/dev/null 2>&1 && env | grep -q '^TPU_'; }; then
        echo tpu
    fi
}

extra=${EXTRA-$(find_extra)}
case $extra in
    gpu | tpu) wanted=".[dev,$extra]" ;;
    *) wanted=".[dev]" ;;
esac

# No stamp: whatever is there was left half made.
[ -f "$venv/.installed" ] || rm -rf "$venv"
if command -v uv >/dev/null 2>&1; then
    echo "making $venv with uv: $wanted"
    [ -x "$venv/bin/python" ] || uv venv -q --seed --python "${2:->=3.11,<3.14}" "$venv"
    uv pip install -q --python "$venv/bin/python" -e "$wanted"
else
    if [ ! -x "$venv/bin/python" ]; then
        python=$(find_python "${2:-}")
        "$python" -m venv "$venv"
    fi
    echo "making $venv with $("$venv/bin/python" --version): $wanted (a few minutes)"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check -e "$wanted"
fi
touch "$venv/.installed"
