# SPDX-License-Identifier: Apache-2.0
"""``[[integrity]]``: message counters and checksums."""
