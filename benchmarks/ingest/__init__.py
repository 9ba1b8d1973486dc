"""How fast readings come in: clients, sinks, gateways and a peer, side by side."""

import os

from iotops.ray_cluster import LOCAL_NODE

# Before any module imports Ray, which reads them then.
os.environ.update(LOCAL_NODE, RAY_USAGE_STATS_ENABLED="0")
