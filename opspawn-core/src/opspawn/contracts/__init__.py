"""What plugin authors implement, and the records that cross between the layers. Protocols and records, no behaviour."""
