# SPDX-License-Identifier: Apache-2.0
"""The shipped recipes, installed as ssl_jax.configs; each is a file for ``ssl-jax pretrain``."""
