# SPDX-License-Identifier: Apache-2.0
"""Tests of hf/; a package, so that helpers can be imported by name."""
