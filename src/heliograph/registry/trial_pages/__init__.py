"""The pages on which a prospect reads and accepts the Terms, and the address of the sign-up webhook."""
