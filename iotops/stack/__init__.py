"""The embedded stack: the real servers behind the platform, on this machine's loopback."""
