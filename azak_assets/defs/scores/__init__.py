"""What the forecasts were worth."""
