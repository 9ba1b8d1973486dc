"""The API: routes, what they take and answer, limits, streams."""
