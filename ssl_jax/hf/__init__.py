# SPDX-License-Identifier: Apache-2.0
"""Weights and configs in and out of `transformers`: one table a family, read in both directions."""
