"""Model graphs: Lasagne layers only. A model knows no engine, no objective and no data."""
