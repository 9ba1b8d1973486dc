"""From evidence to sentences that it supports."""
