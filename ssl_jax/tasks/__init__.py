# SPDX-License-Identifier: Apache-2.0
"""What fine-tuning is measured on: reading labelled examples, metrics, prediction files."""
