"""What is said about a finished backtest. Nothing here decides a trade, so none of it is in the code's hash."""
