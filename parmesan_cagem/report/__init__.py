"""From results to what people look at. Nothing here trains or evaluates."""
