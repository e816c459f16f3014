"""The sandbox: a local, stateful stand-in for a Zendesk account. It is NOT Zendesk.

It shares no code with the client it tries (`worker.zendesk`): shared code would be shared
misunderstanding. Reading bottom-up: `messages` (what travels), `settings` and `config` (what it
was told), `fields`, `rows`, `users` (people), `jobs`, `limits`, `logins`, `faults`, `rules`,
`journal` (what an account keeps), `state` (the account), `api`, `pages` and `control` (its two
faces), `wire` and `listener` (HTTP), `server` (all of it, running). Everything below `wire` is
pure: the time comes in as `now`.

`docs/sandbox.md` lists every switch, what differs from Zendesk, and what is only assumed.
"""
