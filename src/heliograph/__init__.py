"""Product-usage events, from a vendor's customer instances to the vendor, in the open."""
