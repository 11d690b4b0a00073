"""The ledger of what left an instance: its entries, how they are chained, verified, and compared with the vendor's."""
