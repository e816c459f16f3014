"""Deskfeed's worker: delivers chunks of profiles to Zendesk, politely.

Reading the package bottom-up is reading the journey of a chunk: types (`errors`, `profile`,
`times`), adapters that do not know each other (`ledger`, `limiter`, `zendesk`), the use-cases
(`delivery`), and the Celery shells (`app`, `tasks`).
"""
