# SPDX-License-Identifier: Apache-2.0
"""Many fine-tuning runs as one answer: over seeds, over tasks, and of one start against another."""
