"""Other programs' interfaces, so that a change of import is all that it takes to switch."""
