"""Connections of Home Assistant's protocol, Wyoming → speech, by the same jobs as those of requests over HTTP."""
