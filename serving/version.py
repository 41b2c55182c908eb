"""The API's version, the first part of each of its paths; docs/api.md has the rule of its changes."""

PREFIX = "/v1"
