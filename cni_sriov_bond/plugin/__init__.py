"""The plugin's verbs, one in a module, over acquire, release and recover."""
