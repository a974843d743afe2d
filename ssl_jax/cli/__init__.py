# SPDX-License-Identifier: Apache-2.0
"""The command ``ssl-jax``: arguments in, exit status out.  Imports nothing heavy until a command runs."""
