"""Executions followed to their end, and what waits behind them."""
