"""The command line, one module a group; each is loaded only when it is called."""
