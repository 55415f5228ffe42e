"""Programs beside the product."""
