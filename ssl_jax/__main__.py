# SPDX-License-Identifier: Apache-2.0
"""``python -m ssl_jax`` is ``ssl-jax``."""

import sys

from ssl_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
