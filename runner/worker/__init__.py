"""The daemon: one step of everything, and the parts it is made of."""
