# SPDX-License-Identifier: Apache-2.0
"""The training loop.  It knows objectives only by their contract: no word here says what is predicted."""
