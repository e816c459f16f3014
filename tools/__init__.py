"""Programs for those who work on Deskfeed; nothing of the product imports them."""
