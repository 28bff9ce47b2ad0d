"""A load of many processes on one pool, killed at random, under the eyes of a referee that shares no code with the product."""
