"""A sitting: several hubs measured side by side on one machine, and the tables that come of it."""
