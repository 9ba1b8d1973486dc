"""Demo content: a seeded fleet's data and the manuals and runbooks its operators work from."""
