"""The outside world on one port: a venue that speaks Alpaca's protocols over replayed bars."""
