"""Accounts, instances and agreements, as the vendor's legal and sales operations teams record them."""
