"""What analysts submit to the cluster, and how: `ray job submit -- python -m pipelines.jobs.<name> ...`."""
