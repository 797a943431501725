"""From the files that a user named to tokenised rows: read, check, split, tokenise. No torch anywhere in here."""
