# SPDX-License-Identifier: Apache-2.0
"""What is kept, and when it is sealed: pure functions over decoded blocks."""
