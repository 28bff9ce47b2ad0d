"""The CNI protocol: parse calls, write results and errors, run other plugins. Nothing here is about bonds."""
