"""One outside thing each: disk, database, network, configuration. They never import one another."""
