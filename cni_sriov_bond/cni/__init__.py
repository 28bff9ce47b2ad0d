"""The CNI protocol: environment and bytes in, documents out, running other plugins. It knows nothing of bonds."""
