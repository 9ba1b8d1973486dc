"""The foundation's own sub-commands of `iotops`."""
