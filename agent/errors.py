# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, as far as a caller acts differently on it.

    AgentError
     ├── ConfigError     the configuration is not usable      exit 2
     ├── DatabaseError   a DBC file cannot be read at all     exit 2
     ├── LogFileError    a recorded log cannot be read        exit 1 (2 where it is missing)
     ├── BatchError      a batch or catalog does not decode   set aside and counted
     ├── SpoolError      the disk refuses                     the daemon ends, systemd restarts it
     │    └── SpoolVersionError   another version wrote it    set aside whole
     └── UplinkError     the link or the broker refuses       back off, keep, try again

Every message is one line for a person: what, where, and what would be accepted.
"""

from __future__ import annotations


class AgentError(Exception):
    """Base of all errors that canferry raises on purpose; its text is fit for stderr."""


class ConfigError(AgentError):
    """The configuration is not usable: names file, key, value and what is accepted."""


class DatabaseError(AgentError):
    """A database cannot be read at all; problems within a readable one are reported, not raised."""


class LogFileError(AgentError):
    """A recorded log cannot be read: names the file and, where known, the line."""


class BatchError(AgentError):
    """Bytes that claim to be a batch or a catalog and do not decode as one."""


class SpoolError(AgentError):
    """The disk refused an operation that durability rests on: names operation and path."""


class SpoolVersionError(SpoolError):
    """A spool or a journal is in the format of another version: names the file and the version that is accepted."""


class UplinkError(AgentError):
    """The link or the broker refused: names the address and the reason."""
