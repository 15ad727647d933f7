"""What each page says: rows go in, the texts, tones and order that a person sees come out. Nothing is read here."""
