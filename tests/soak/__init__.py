"""A load of many processes on one pool, killed at random, checked by an oracle that shares no code with the product."""
