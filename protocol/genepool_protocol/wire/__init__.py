"""The wire: error table, limits with their units, versions, and conversions between messages and plain values."""
