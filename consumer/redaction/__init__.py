"""Takes e-mail addresses, phone numbers and payment card numbers out of events, before anything else sees them."""
