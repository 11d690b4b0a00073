"""The lake: open tables, and the loader that fills them."""
