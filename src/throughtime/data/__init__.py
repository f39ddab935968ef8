"""From files to windows a network can be trained on."""
