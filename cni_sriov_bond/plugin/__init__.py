"""The plugin's verbs, a module each, and what they share: acquire, release, recover and forward."""
