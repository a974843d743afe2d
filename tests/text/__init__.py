# SPDX-License-Identifier: Apache-2.0
"""Tests of text/; a package, so that its fixtures' helpers can be imported by name."""
