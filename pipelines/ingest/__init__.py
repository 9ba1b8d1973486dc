"""From the device to Kafka, and from Kafka to bronze and hot silver."""
