"""The operator's command: create, remove and show pools of bonds, and check config files."""
