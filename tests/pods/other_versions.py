# SPDX-License-Identifier: Apache-2.0
"""`ssl-jax` on a host that has another jax."""

import sys

from ssl_jax import claim
from ssl_jax.cli.main import main

if __name__ == "__main__":
    ours = claim.versions
    claim.versions = lambda: {**ours(), "jax": "0.9.0"}
    sys.exit(main())
