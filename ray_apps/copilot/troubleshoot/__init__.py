"""Troubleshooting: checks of a device, its likely causes, and a guide that goes on from each outcome."""
