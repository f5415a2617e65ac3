"""Which changes of the contracts break those who publish or read by the last release."""
