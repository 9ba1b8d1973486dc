"""The foundation: settings, tenancy, contracts, database, lake, auth, models and the embedded stack."""

__version__ = "0.1.0"
