"""Errors that a person reads: each names the thing, the value and the remedy."""


class IotOpsError(Exception):
    """A failure with a message fit for an operator; the command line prints it without a traceback."""


class SettingsError(IotOpsError):
    """A setting is missing or refused."""


class TenantError(IotOpsError):
    """A tenant's name is malformed, unknown or already taken."""


class AuthError(IotOpsError):
    """A token is missing, malformed, expired or lacks the role for the call."""


class ModelError(IotOpsError):
    """A model's weights cannot be had from any of its sources."""


class StackError(IotOpsError):
    """A server of the embedded stack did not start, stop or answer."""


class LakeError(IotOpsError):
    """A table of the lake cannot be read, loaded or changed as asked."""


class SnapshotError(IotOpsError):
    """A snapshot of an index is missing, torn, corrupt or not what its name says."""
