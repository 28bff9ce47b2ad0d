"""The operator's command: make pools of bonds, take them away, and see who has what."""
