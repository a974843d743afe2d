# SPDX-License-Identifier: Apache-2.0
"""What a run says for itself when it is over, or when somebody looks at its batches."""
