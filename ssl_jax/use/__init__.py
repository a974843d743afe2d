# SPDX-License-Identifier: Apache-2.0
"""What one does with a model.  Works on Model(trunk, heads) by its heads, whatever it was trained for."""
