"""Deskfeed's orchestrations: decide what to send; the worker delivers it."""
