"""The network config of the plugin, and what an attachment may request instead."""
