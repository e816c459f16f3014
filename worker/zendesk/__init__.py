"""The adapter to Zendesk: what Deskfeed says to it, and what it makes of the answers.

`client` makes the calls, over `transport` (connections that end on time) with a credential of
`auth`. All else is pure: `payload` writes what goes out; `answer`, `replies`, `jobs` and `fields`
read what comes back; `consequences` is the one table of errors; `matching` tells which result is
whose; `redaction` takes customer values out of Zendesk's words.
"""
