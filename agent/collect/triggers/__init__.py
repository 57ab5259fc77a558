# SPDX-License-Identifier: Apache-2.0
"""``[[trigger]]``: when an event comes, and what is recorded of the time around it."""
